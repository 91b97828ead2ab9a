import dataclasses

import numpy as np
import onnx
import pytest
import torch

from fleetml.learn import export, parameters, training
from fleetml.learn.architectures import Architecture
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.graph import InvalidGraph, load
from fleetml.learn.neural import Network
from fleetml.learn.neural_bodies import BODIES


@pytest.mark.parametrize("family", BODIES)
@pytest.mark.parametrize("trained", [False, True])
def test_a_network_is_built_again_from_its_graph(meta, windows, family, trained):
    torch.manual_seed(0)
    network = Network(meta, Architecture(family, 8, 2, dropout=0.3))
    if trained:
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    model = export.from_torch(network, meta, {"width": 8})
    again = parameters.rebuilt(model)
    assert again.architecture == network.architecture
    for name, value in network.named_parameters():
        assert torch.equal(again.get_parameter(name), value), name
    some = windows(20)
    assert np.array_equal(training.predict(again, some), training.predict(network, some))
    assert export.check_equal(model, some, training.predict(again, some)) < 1e-5


def test_where_the_weights_are_survives_the_file_and_leaves_the_forecast(meta, windows, tmp_path):
    network = Network(meta, Architecture("tcn", 8, 2))
    (tmp_path / "model.onnx").write_bytes(export.from_torch(network, meta, {}).SerializeToString())
    found = load(tmp_path / "model.onnx")
    some = windows(5)
    assert np.allclose(Forecaster(tmp_path / "model.onnx").forecast(some), training.predict(network, some), rtol=1e-4)
    assert torch.equal(parameters.rebuilt(found).blend.weight, network.blend.weight)


def test_a_graph_that_lost_a_weight_says_nothing_and_is_refused(meta):
    network = Network(meta, Architecture("mlp", 8, 1))
    model = export.from_torch(network, meta, {})
    first = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [8, meta.context])
    first.CopyFrom(onnx.numpy_helper.from_array(np.ones((8, meta.context), np.float32), first.name))
    props = {p.key: p.value for p in model.metadata_props if p.key != parameters.KEY}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, props)
    parameters.write(network, model)
    with pytest.raises(InvalidGraph, match=r"'fleetml\.parameters'.*'mlp' does not"):
        parameters.rebuilt(model)


def test_other_lengths_are_built_again_too(meta):
    meta = dataclasses.replace(meta, horizon=1, covariates=())
    model = export.from_torch(Network(meta, Architecture("gru", 8, 1)), meta, {})
    assert parameters.rebuilt(model).horizon == 1
