import json
import math

import numpy as np
import onnx
import pytest
import torch

from components.compress.compress import compress
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import conformal, export, quantile_head, search_space, training
from fleetml.learn import graph as graphs
from fleetml.learn.architectures import Architecture
from fleetml.learn.compression.forecasters import ForecasterData
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.neural import Network
from fleetml.learn.tabular_trainer import TabularTrainer

NAMES = ("model", "train", "val", "compressed", "metrics")


@pytest.fixture
def made(tmp_path, windows):
    """Return the artifacts of compress, train and val written."""
    made = {name: Artifact(name, str(tmp_path / name)) for name in NAMES}
    windows(300).save(made["train"].path)
    windows(60, seed=1).save(made["val"].path)
    return made


@pytest.fixture
def network(made, meta, windows):
    """Return a function that trains a network for an epoch and writes it as the input of compress."""

    def write(family="mlp", width=128):
        torch.manual_seed(0)
        network = Network(meta, Architecture(family, width, 2))
        train = training.Examples.of(windows(300))
        training.fit(network, train, train, training.Recipe(epochs=2), 0)
        graphs.publish(export.from_torch(network, meta, {"width": width}), made["model"])

    return write


@pytest.mark.parametrize("family", ["mlp", "tcn", "gru"])
def test_a_network_becomes_a_smaller_graph_with_nearly_the_same_forecasts(made, network, windows, family):
    network(family)
    compress(**made, max_loss=0.02)
    small, figures = made["compressed"], made["compressed"].metadata
    assert figures["ratio"] == pytest.approx(made["model"].path.stat().st_size / small.path.stat().st_size, abs=1e-3)
    assert figures["ratio"] > (1.2 if family == "gru" else 2)  # ONNX Runtime quantises no GRU, only what follows it
    assert figures["loss"] <= 0.02
    assert figures["family"] == family
    some = windows(30, seed=2)
    forecasts = [Forecaster(made[name].path).forecast(some) for name in ("model", "compressed")]
    assert (np.abs(forecasts[0] - forecasts[1]).mean(1) / some.scale).mean() < 0.1
    assert list(made["metrics"].metadata)[:3] == ["ratio", "loss", "budget_met"], "what the page shows"
    assert figures["budget_met"], "nothing but the loss was asked for"


def test_a_target_cuts_channels_too_and_the_metadata_say_it_was_met(made, network):
    network()
    compress(**made, max_loss=0.1, target_ratio=4.0, trials=3, seconds=240)
    figures = made["compressed"].metadata
    assert figures["budget_met"], figures["reason"]
    assert figures["ratio"] >= 4
    assert figures["loss"] <= 0.1
    assert made["metrics"].metadata["budget_met"]
    json.dumps(figures)


def test_a_target_out_of_reach_is_best_effort_and_named(made, network):
    network("mlp", 16)
    compress(**made, max_loss=0.02, target_ratio=500.0, trials=2, seconds=60)
    for said in (made["compressed"].metadata, made["metrics"].metadata):
        assert said["budget_met"] is False
        assert said["reason"].startswith("best effort")
        assert said["loss"] <= 0.02
        assert said["trials"] == 2


def test_trees_keep_the_same_promises(made, windows):
    trainer = TabularTrainer(windows(300), windows(60, seed=1), seed=0)
    chosen = search_space.defaults(trainer.families["random_forest"])
    forest = trainer.train("random_forest", chosen, math.inf, lambda epoch, score: None).graph
    graphs.publish(forest, made["model"])
    compress(**made, max_loss=0.05, target_ratio=500.0, trials=2)
    assert made["metrics"].metadata["budget_met"] is False
    assert made["metrics"].metadata["trials"] == 2
    assert made["compressed"].metadata["reason"].startswith("best effort")
    compress(**made, max_loss=0.05, target_ratio=2.0)
    assert made["metrics"].metadata["budget_met"] is True
    with pytest.raises(InvalidParameter, match="use int8"):
        compress(**made, max_loss=0.05, precision="fp16")


def test_counted_the_same_seed_and_trials_give_the_same_bytes(made, network):
    network("mlp", 32)
    content = []
    for _ in range(2):
        compress(**made, max_loss=0.5, target_ratio=3.0, trials=2, seconds=600, counted=True)
        content.append(made["compressed"].path.read_bytes())
    assert content[0] == content[1]


@pytest.mark.parametrize(("target", "met"), [(0.0, True), (3.0, False)])
def test_of_too_few_rows_to_judge_with_the_graph_is_kept_and_said_so(made, network, windows, target, met):
    network("mlp", 16)
    windows(2, seed=1).save(made["val"].path)
    compress(**made, max_loss=0.02, target_ratio=target, trials=1)
    figures = made["compressed"].metadata
    assert (figures["method"], figures["ratio"], figures["budget_met"]) == ("none", 1.0, met)
    assert figures["validation_mase"] > 0
    assert figures["reason"].endswith("too few to tune, to compare and to judge with: that takes 3")


def test_a_graph_with_nothing_to_quantise_is_kept_and_said_so(made, graph):
    made["model"].path.write_bytes(graph().read_bytes())
    compress(**made, max_loss=0.02)
    assert made["compressed"].path.read_bytes() == made["model"].path.read_bytes()
    assert made["compressed"].metadata["method"] == "none"
    assert made["compressed"].metadata["ratio"] == 1.0
    assert "'test' has no matrix product" in made["compressed"].metadata["reason"]


def test_quantiles_are_calibrated_anew_and_no_number_of_theirs_is_quantised(made, network, windows):
    network("mlp")
    val = windows(80, seed=1)
    came = conformal.calibrated(graphs.load(made["model"].path), val)
    graphs.publish(came, made["model"])
    val.save(made["val"].path)
    compress(**made, max_loss=0.05)
    small = graphs.load(made["compressed"].path)
    point = quantile_head.taken_off(small)
    assert small.SerializeToString() == conformal.calibrated(point, val).SerializeToString()
    assert point.SerializeToString() != quantile_head.taken_off(came).SerializeToString()
    figures = made["compressed"].metadata
    assert figures["size_bytes"] == small.ByteSize(), "of all that is published"
    assert figures["ratio"] == pytest.approx(came.ByteSize() / small.ByteSize(), abs=1e-3)


def test_quantiles_of_what_is_kept_are_those_that_it_came_with(made, network, windows):
    network("mlp", 16)
    graphs.publish(conformal.calibrated(graphs.load(made["model"].path), windows(80, seed=1)), made["model"])
    windows(2, seed=1).save(made["val"].path)
    compress(**made, max_loss=0.02, trials=1)
    assert made["compressed"].metadata["method"] == "none"
    assert made["compressed"].path.read_bytes() == made["model"].path.read_bytes()


def test_a_loss_beyond_the_limit_keeps_the_graph_and_names_it(made, network, monkeypatch):
    network()
    finished = ForecasterData.finished

    def ruined(self, graph):
        for tensor in graph.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and list(tensor.dims) == [4]:
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(4, 9, np.float32), tensor.name))
        return finished(self, graph)

    monkeypatch.setattr(ForecasterData, "finished", ruined)
    compress(**made, max_loss=0.02)
    assert made["compressed"].path.read_bytes() == made["model"].path.read_bytes()
    assert made["compressed"].metadata["method"] == "none"
    assert "within a loss of 2.0%; the least loss is" in made["compressed"].metadata["reason"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"max_loss": -0.1}, r"'max_loss'.*-0\.1"),
        ({"max_loss": 0.02, "target_ratio": -1.0}, "'target_ratio'"),
        ({"max_loss": 0.02, "seconds": 0}, "'seconds'"),
        ({"max_loss": 0.02, "trials": 0}, "trials.*at least 1"),
        ({"max_loss": 0.02, "max_operations": -1}, "'max_operations'"),
        ({"max_loss": 0.02, "precision": "int3"}, "int8, fp16, got 'int3'"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(made, network, wrong, told):
    network("mlp", 16)
    with pytest.raises(InvalidParameter, match=told):
        compress(**made, **wrong)
