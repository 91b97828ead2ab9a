"""The dense layers of an anomaly graph, out and in again, and what compression makes of it."""

import numpy as np
import onnx
import pytest

from fleetml.learn.anomaly import training
from fleetml.learn.anomaly.samples import Samples
from fleetml.learn.compression import dense, graphs, networks, prune, qat, quantise, search
from fleetml.learn.compression.anomalies import AnomalyData
from fleetml.learn.compression.search import Target
from fleetml.learn.forecaster import session
from fleetml.serving.backends.tensorrt_rules import faults


def rows(seed, count=600):
    drawn = np.random.default_rng(seed)
    values = drawn.lognormal(1, 0.4, (count, 6)).astype(np.float32)
    return Samples(np.array([f"vm-{number % 8}" for number in range(count)]), values)


@pytest.fixture(scope="session")
def detector():
    return training.train(rows(0), rows(1), 48, 24, 5.0, 0)


@pytest.fixture
def data(detector):
    return AnomalyData(detector, rows(1), 60.0, 0)


def scores(graph, values):
    return session(graph.SerializeToString()).run(["score"], {"metrics": values})[0]


def test_the_layers_written_back_are_the_graph(data):
    again = data.exported(data.original().network)
    some = rows(3).values
    some[0, 2] = np.nan
    assert np.allclose(scores(again, some), scores(data.model, some), rtol=1e-5)
    assert len(dense.chain(again)) == len(dense.chain(data.model))


def test_rows_to_judge_with_are_of_other_vms(data):
    parts = [set(part.vm_id) for part in (data.tuned_on, data.compared, data.judged)]
    assert not (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])
    assert sum(map(len, (data.tuned_on, data.compared, data.judged))) == 600


@pytest.mark.parametrize(
    ("technique", "amount", "ratio"),
    [
        (quantise.static, 1.0, 1.5),
        (quantise.dynamic, 1.0, 1.5),
        (qat.aware, 1.0, 1.5),
        (prune.structured, 0.5, 2.0),
        (networks.low_rank, 0.3, 1.05),
        (networks.distilled, 0.5, 2.0),
        (networks.small_from_scratch, 0.5, 2.0),
    ],
)
def test_a_technique_makes_a_smaller_graph_that_is_judged_as_it_is(data, technique, amount, ratio):
    before = data.original()
    small = data.finished(graphs.compact(technique(before, amount, data).graph))
    assert before.size_bytes / small.ByteSize() > ratio
    assert 0 <= data.figure(small) <= 1
    props = {prop.key: prop.value for prop in small.metadata_props}
    assert props == {prop.key: prop.value for prop in data.model.metadata_props}


@pytest.mark.parametrize("amount", [1.0, 0.0])
def test_the_rounding_that_was_learnt_is_the_rounding_of_the_graph(data, amount):
    import torch

    kept = {}
    exported = data.exported
    data.exported = lambda network: exported(kept.setdefault("network", network))
    made = qat.aware(data.original(), amount, data)
    assert faults(made.graph) == []
    probe, last = made.graph, dense.chain(data.model)[-1].output[0]
    probe.graph.output.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    said = session(probe.SerializeToString()).run([last], {"metrics": data._calibration()})[0]
    with torch.no_grad():
        assert np.allclose(kept["network"](*data.inputs()).numpy(), said, atol=1e-4)


def test_tuning_mends_what_pruning_took(data):
    pruned = prune.structured(data.original(), 0.25, data)
    assert data.figure(networks.tuned(pruned, 1.0, data).graph) > data.figure(pruned.graph)


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_of_too_few_rows_to_judge_with_the_graph_is_kept(detector, seconds):
    found = search.search(AnomalyData(detector, rows(1, 2), seconds, 0), Target(0.2, ratio=2.0), trials=1)
    assert (found.graph, found.met) == (detector, False)
    assert found.reason.startswith("best effort, the original: 2 validation rows")


def test_a_search_meets_a_target_or_says_it_cannot(data):
    data.seconds = 2.0
    found = search.search(data, Target(0.2, ratio=2.0), trials=3)
    assert found.met, found.reason
    lost = search.search(data, Target(0.0, ratio=100.0), trials=1)
    assert not lost.met
    assert onnx.checker.check_model(lost.graph) is None
