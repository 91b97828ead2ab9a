"""Each technique alone: its graph runs, is as small as it says, and its loss is measured on rows that nothing else saw."""

import math
import time

import numpy as np
import onnx
import pytest

from fleetml.errors import FleetMLError
from fleetml.learn import graph as describing
from fleetml.learn import training
from fleetml.learn.compression import graphs, half, networks, prune, qat, quantise
from fleetml.learn.compression.compressible import loss, thirds
from fleetml.learn.compression.forecasters import ForecasterData
from fleetml.learn.forecaster import Forecaster, session
from fleetml.serving.backends.tensorrt_rules import faults

# technique, amount, how many times smaller it must be, how much it may lose on this small network
TECHNIQUES = {
    "static": (quantise.static, 1.0, 2.0, 0.02),
    "static_per_tensor": (quantise.static, 0.0, 2.0, 0.02),
    "mixed": (quantise.mixed, 0.3, 1.1, 0.02),
    "dynamic": (quantise.dynamic, 1.0, 2.0, 0.02),
    "aware": (qat.aware, 1.0, 2.0, 0.02),
    "aware_per_tensor": (qat.aware, 0.0, 2.0, 0.02),
    "int8_constants": (half.int8_constants, 1.0, 2.0, 0.02),
    "fp16": (half.fp16, 1.0, 1.5, 0.001),
    "structured": (prune.structured, 0.5, 1.5, 0.5),
    "low_rank": (networks.low_rank, 0.2, 1.2, 0.1),
    "distilled": (networks.distilled, 0.5, 1.5, 0.2),
    "small_from_scratch": (networks.small_from_scratch, 0.5, 1.5, 0.2),
}


OTHERS = [
    ("tcn", "aware_per_tensor"),
    ("tcn", "structured"),
    ("gru", "static"),
    ("gru", "structured"),
    ("gru", "distilled"),
]


@pytest.mark.parametrize(("family", "name"), [*(("mlp", name) for name in TECHNIQUES), *OTHERS])
def test_a_technique_makes_the_file_smaller_and_its_loss_is_that_of_the_graph(forecaster, name, family):
    technique, amount, ratio, most = TECHNIQUES[name]
    data = forecaster(family, 64)
    before = data.original()
    after = technique(before, amount, data)
    assert len(after.steps) == 1
    small = data.finished(graphs.compact(after.graph))
    grew = loss(data.figure(small), data.figure(before.graph), data.larger_is_better)
    assert grew <= most
    least = 1.0 if family == "gru" else ratio  # a GRU itself is neither quantised nor pruned, only what follows it
    assert before.size_bytes / small.ByteSize() > least
    assert np.array_equal(
        Forecaster(small.SerializeToString()).forecast(data.judged),
        Forecaster(after.graph.SerializeToString()).forecast(data.judged),
    ), "a compact graph says the same"


def test_rows_to_judge_with_are_none_of_those_to_choose_with_or_to_train_on(forecaster):
    data = forecaster()
    parts = [set(part.vm_id) for part in (data.chosen_on, data.compared, data.judged)]
    assert not (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])
    assert sum(map(len, (data.chosen_on, data.compared, data.judged))) == 80


def test_without_tuning_what_would_choose_epochs_is_compared_and_no_network_is_built(forecaster):
    data = forecaster(seconds=0)
    assert len(data.compared) + len(data.judged) == 80
    assert set(data.judged.vm_id).isdisjoint(data.compared.vm_id)
    assert data.original().network is None


def test_of_fewer_than_three_vms_the_parts_follow_each_other_in_time():
    vms, time = np.array(["a", "b"] * 6), np.arange(12)[::-1]
    parts = thirds(vms, time)
    assert [sorted(time[part]) for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert [part.tolist() for part in thirds(vms[:2], time[:2])] == [[True, True]] * 3, "too few to be dealt out"


def test_tuning_ends_at_the_deadline_of_the_search(forecaster, monkeypatch):
    data, given = forecaster(seconds=math.inf), []
    fit = training.fit
    monkeypatch.setattr(training, "fit", lambda *args: given.append(args[-1]) or fit(*args))
    data.deadline = time.monotonic()
    data.tune(data.original().network, taught=False)
    assert given == [data.deadline]


def test_a_compact_graph_says_nothing_that_holds_without_it(forecaster):
    data = forecaster("tcn")
    small = graphs.compact(data.model)
    said = {(node.op_type, each.name) for node in small.graph.node for each in node.attribute}
    assert not said & {
        ("Conv", "group"),
        ("Conv", "auto_pad"),
        ("Gemm", "alpha"),
        ("Shape", "start"),
        ("TopK", "sorted"),
    }
    assert ("Gemm", "transB") in said, "it is not the default"
    assert ("TopK", "largest") in said
    some = data.judged
    assert np.array_equal(*(Forecaster(each.SerializeToString()).forecast(some) for each in (data.model, small)))


def test_long_even_steps_become_a_range():
    made = [onnx.helper.make_node("Gather", ["x", name], [out], axis=0) for name, out in (("even", "a"), ("odd", "b"))]
    values = {"even": np.arange(40, 0, -2), "odd": np.array([0, 1] * 10)}
    tensors = [onnx.numpy_helper.from_array(each, name) for name, each in values.items()]
    infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in ("x", "a", "b")]
    graph = onnx.helper.make_graph(made, "two", infos[:1], infos[1:], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    small = graphs.compact(model)
    assert [node.op_type for node in small.graph.node] == ["Range", "Gather", "Gather"]
    said = session(small.SerializeToString()).run(None, {"x": np.arange(50, dtype=np.float32)})
    assert [each.tolist() for each in said] == [each.tolist() for each in values.values()]


@pytest.mark.parametrize("family", ["mlp", "tcn"])
def test_quantisation_aware_tuning_is_not_worse_than_static_quantisation(forecaster, family):
    data = forecaster(family)
    data.judged = data.chosen_on  # the rows that tuning chooses on: what it promises
    tuned, plain = (technique(data.original(), 1.0, data) for technique in (qat.aware, quantise.static))
    assert data.figure(tuned.graph) <= data.figure(plain.graph) * 1.002


@pytest.mark.parametrize(
    ("technique", "amount"), [(quantise.static, 1.0), (qat.aware, 1.0), (qat.aware, 0.0), (half.fp16, 1.0)]
)
def test_the_rules_of_tensorrt_hold(forecaster, technique, amount):
    made = technique(forecaster("tcn").original(), amount, forecaster("tcn"))
    assert faults(made.graph) == []
    kinds = {tensor.name: tensor.data_type for tensor in made.graph.graph.initializer}
    if technique is half.fp16:
        assert onnx.TensorProto.FLOAT16 in kinds.values()
        return
    scales = [node for node in made.graph.graph.node if node.op_type == "DequantizeLinear"]
    assert len(scales) >= 6
    for node in scales:
        zero = (
            next((t for t in made.graph.graph.initializer if t.name == node.input[2]), None)
            if len(node.input) > 2
            else None
        )
        assert zero is None or not onnx.numpy_helper.to_array(zero).any()


def test_the_rounding_that_was_learnt_is_the_rounding_of_the_graph(forecaster):
    """The network with its rounded layers answers what its QDQ graph answers."""
    import torch

    data = forecaster("mlp")
    kept = {}
    made = qat.aware(data.original(), 1.0, _remembering(data, kept))
    with torch.no_grad():
        said = kept["network"](
            *(torch.from_numpy(rows) for rows in (data.judged.history, data.judged.covariates))
        ).numpy()
    graph = Forecaster(made.graph.SerializeToString()).forecast(data.judged)
    apart = np.abs(said - graph).mean(axis=1) / data.judged.scale
    assert apart.mean() < 2e-3


def _remembering(data, kept):
    exported = data.exported

    def remember(network):
        kept["network"] = network
        return exported(network)

    data.exported = remember
    return data


def test_magnitude_pruning_leaves_that_share_of_the_weights(forecaster):
    data = forecaster("mlp")
    before = data.original()
    after = prune.magnitude(before, 0.25, data)
    assert graphs.nonzero(after.graph) < 0.4 * graphs.nonzero(before.graph)
    assert after.size_bytes == pytest.approx(before.size_bytes, rel=0.05), "ONNX holds zeros as it holds any number"


def test_tuning_mends_what_pruning_took(forecaster):
    data = forecaster("mlp")
    data.judged = data.chosen_on
    pruned = prune.structured(data.original(), 0.25, data)
    tuned = networks.tuned(pruned, 1.0, data)
    assert data.figure(tuned.graph) <= data.figure(pruned.graph)


def test_after_quantisation_there_is_no_network_to_prune(forecaster):
    data = forecaster()
    done = quantise.static(data.original(), 1.0, data)
    with pytest.raises(FleetMLError, match=r"static_qdq.*before quantisation"):
        prune.structured(done, 0.5, data)


def test_loss_is_a_share_of_what_it_was():
    assert loss(1.1, 1.0, False) == pytest.approx(0.1)
    assert loss(0.9, 1.0, True) == pytest.approx(0.1)
    assert loss(0.0, 0.0, False) == 0.0
    assert loss(0.1, 0.0, False) == float("inf")


def test_a_forecaster_keeps_its_quantiles(forecaster, meta, windows):
    """Of one level, .5: the forecast itself."""
    model = onnx.ModelProto()
    model.CopyFrom(forecaster("mlp").model)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "last"))
    model.graph.node.append(onnx.helper.make_node("Unsqueeze", ["forecast", "last"], ["quantiles"]))
    shape = ["batch", meta.horizon, 1]
    model.graph.output.append(onnx.helper.make_tensor_value_info("quantiles", onnx.TensorProto.FLOAT, shape))
    data = ForecasterData(describing.finish(model, meta, "mlp", quantiles=(0.5,)), windows(300), windows(80), 0, 0)
    made = quantise.dynamic(data.original(), 1.0, data)
    assert describing.describe(made.graph).quantiles == (0.5,)
