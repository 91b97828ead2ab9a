"""The head of quantiles, put on and taken off real graphs of each kind of forecaster."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fleetml.learn import graph, parameters, quantile_head
from fleetml.learn.baselines import BASELINES
from fleetml.learn.forecaster import Forecaster, awkward
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.quantile_head import Offsets
from fleetml.learn.quantiles import LEVELS
from fleetml.learn.windows import Meta
from fleetml.serving.backends import tensorrt_rules

META = Meta(context=60, horizon=7, season=24)
OFFSETS = Offsets((-4, -3, -2, -1, 0, 0.5, 1, 2, 3), 0.5, 0.25, 100)


def network() -> onnx.ModelProto:
    import torch

    from fleetml.learn import export
    from fleetml.learn.architectures import Architecture
    from fleetml.learn.neural import Network

    torch.manual_seed(0)
    return export.from_torch(Network(META, Architecture(family="mlp", width=8, depth=1)), META, {"width": 8})


def point(kind: str) -> onnx.ModelProto:
    return network() if kind == "network" else BASELINES[kind](META)


@pytest.mark.parametrize("kind", ["network", "last_value", "seasonal_naive"])
def test_taken_off_leaves_the_bytes_that_were_there(kind: str) -> None:
    model = point(kind)
    before = model.SerializeToString()
    made = quantile_head.put_on(model, OFFSETS)
    assert graph.check(made).quantiles == LEVELS
    assert quantile_head.taken_off(made).SerializeToString() == before
    assert model.SerializeToString() == before
    assert quantile_head.taken_off(model) is model


def test_it_says_what_the_formula_says() -> None:
    random = np.random.default_rng(0)
    history = random.lognormal(3, 1, (20, META.context)).astype(np.float32)
    covariates = np.empty((20, 0), np.float32)
    forecaster = Forecaster(quantile_head.put_on(point("last_value"), OFFSETS).SerializeToString())
    forecast = forecaster.predict(history, covariates)
    wide = (quantile_head.spread(history) + 0.25)[:, None] * np.sqrt(np.arange(1, 8))
    expected = np.maximum(0, forecast[..., None] + wide[..., None] * np.array(OFFSETS.values))
    assert np.allclose(forecaster.quantiles(history, covariates), expected, rtol=1e-4, atol=1e-4)


def test_the_spread_is_that_of_the_whole_history_and_of_its_end() -> None:
    history = np.zeros((1, 100), np.float32)
    history[0, -24:] = 2
    # mean .48: (76 * .48 + 24 * 1.52) / 100; the last 48: half 0, half 2
    assert quantile_head.spread(history) == pytest.approx([0.7296 + 1.0])


def test_one_window_or_many() -> None:
    forecaster = Forecaster(quantile_head.put_on(point("network"), OFFSETS).SerializeToString())
    history, covariates = awkward(META)
    together = forecaster.quantiles(history, covariates)
    assert together.shape == (5, 7, 9)
    for row in range(5):
        alone = forecaster.quantiles(history[row : row + 1], covariates[row : row + 1])
        assert np.allclose(alone[0], together[row], rtol=1e-5)


def test_the_weights_of_a_network_are_found_behind_it() -> None:
    model = network()
    weights = parameters.rebuilt(quantile_head.put_on(model, OFFSETS)).state_dict()
    assert all(bool((weights[name] == each).all()) for name, each in parameters.rebuilt(model).state_dict().items())


def test_tensorrt_takes_it() -> None:
    found = quantile_head.put_on(point("last_value"), OFFSETS)
    assert {node.domain for node in found.graph.node} == {""}
    assert tensorrt_rules.faults(found) == []


def test_offsets_that_do_not_rise_are_refused() -> None:
    with pytest.raises(InvalidGraph, match="rise"):
        quantile_head.put_on(point("last_value"), Offsets((-1, -3, -2, -1, 0, 1, 2, 3, 4), 0.0, 1.0, 9))


def test_it_is_small() -> None:
    model = point("last_value")
    made = quantile_head.put_on(model, OFFSETS)
    assert made.ByteSize() - model.ByteSize() < 2500
