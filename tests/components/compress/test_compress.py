import numpy as np
import onnx
import pytest
import torch

from components.compress import quantize
from components.compress.compress import compress
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import export, training
from fleetml.learn import graph as graphs
from fleetml.learn.architectures import Architecture
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.neural import Network
from fleetml.learn.neural_bodies import BODIES

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


@pytest.mark.parametrize("family", BODIES)
def test_a_network_becomes_a_smaller_graph_with_nearly_the_same_forecasts(made, network, windows, family):
    network(family)
    compress(**made, max_loss=0.02)
    small, figures = made["compressed"], made["compressed"].metadata
    assert figures["method"] in quantize.METHODS
    assert figures["ratio"] == pytest.approx(made["model"].path.stat().st_size / small.path.stat().st_size, abs=1e-3)
    assert figures["ratio"] > (1.2 if family == "gru" else 2)  # ONNX Runtime quantises no GRU, only what follows it
    assert figures["loss"] <= 0.02
    assert figures["family"] == family
    some = windows(30, seed=2)
    forecasts = [Forecaster(made[name].path).forecast(some) for name in ("model", "compressed")]
    assert (np.abs(forecasts[0] - forecasts[1]).mean(1) / some.scale).mean() < 0.1
    assert list(made["metrics"].metadata)[:3] == ["method", "ratio", "loss"]


def test_static_quantisation_is_symmetric_as_tensorrt_wants_it(made, network, windows):
    network()
    model = quantize.static(graphs.load(made["model"].path), windows(100))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("DequantizeLinear") >= 6
    zeros = [t for t in model.graph.initializer if t.name.endswith("zero_point")]
    assert zeros
    assert all((np.frombuffer(t.raw_data, np.int8) == 0).all() for t in zeros if t.raw_data)


def test_a_graph_with_nothing_to_quantise_is_kept_and_said_so(made, graph):
    made["model"].path.write_bytes(graph().read_bytes())
    compress(**made, max_loss=0.02)
    assert made["compressed"].path.read_bytes() == made["model"].path.read_bytes()
    assert made["compressed"].metadata["method"] == "none"
    assert made["compressed"].metadata["ratio"] == 1.0
    assert "'test' has no matrix product" in made["compressed"].metadata["reason"]


def test_a_loss_beyond_the_limit_keeps_the_graph_and_names_it(made, network, monkeypatch):
    network()

    def ruin(model, train):
        worse = quantize.dynamic(model, train)
        for tensor in worse.graph.initializer:
            if tensor.name == "residual.bias":
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(4, 9, np.float32), tensor.name))
        return worse

    monkeypatch.setattr(quantize, "METHODS", {"ruin": ruin})
    compress(**made, max_loss=0.02)
    assert made["compressed"].path.read_bytes() == made["model"].path.read_bytes()
    assert made["compressed"].metadata["method"] == "none"
    assert "ruin loses" in made["compressed"].metadata["reason"]


def test_a_negative_limit_is_refused_by_name(made):
    with pytest.raises(InvalidParameter, match=r"'max_loss'.*-0\.1"):
        compress(**made, max_loss=-0.1)
