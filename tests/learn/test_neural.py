import dataclasses

import numpy as np
import pytest
import torch

from fleetml.errors import InvalidParameter
from fleetml.learn.architectures import FAMILIES, Architecture
from fleetml.learn.forecaster import awkward
from fleetml.learn.neural import Network
from fleetml.learn.neural_bodies import BODIES


def test_the_search_and_the_bodies_know_the_same_families():
    assert set(FAMILIES) == set(BODIES)


def test_an_unknown_family_is_refused_by_name(meta):
    with pytest.raises(InvalidParameter, match="'transformer'"):
        Network(meta, Architecture("transformer"))


@pytest.mark.parametrize("family", BODIES)
@pytest.mark.parametrize("lengths", [{}, {"horizon": 1}, {"context": 5, "horizon": 9}, {"context": 100}])
def test_any_length_and_awkward_history_gives_a_finite_forecast(meta, family, lengths):
    meta = dataclasses.replace(meta, **lengths)
    history, covariates = (torch.from_numpy(values) for values in awkward(meta))
    forecast = Network(meta, Architecture(family, 8, 2))(history, covariates)
    assert forecast.shape == (len(history), meta.horizon)
    assert torch.isfinite(forecast).all()
    assert (forecast >= 0).all()


def test_an_untrained_network_forecasts_a_blend_of_naive_forecasts(meta, windows):
    some = windows()
    forecast = Network(meta, Architecture("mlp", 8, 1)).eval()(*map(torch.from_numpy, (some.history, some.covariates)))
    forecast = forecast.detach().numpy()
    span = np.ptp(some.history, axis=1, keepdims=True)
    assert (forecast > some.history.min(1, keepdims=True) - 0.1 * span).all()
    assert (forecast < some.history.max(1, keepdims=True) + 0.1 * span).all()


def test_an_absent_covariate_is_not_a_zero(meta, windows):
    torch.manual_seed(0)
    network = Network(meta, Architecture("mlp", 8, 1))
    torch.nn.init.normal_(network.residual.weight)
    history = torch.from_numpy(windows(1).history)
    absent, zero = (network(history, torch.full((1, 1), value)) for value in (float("nan"), 0.0))
    assert torch.isfinite(absent).all()
    assert not torch.allclose(absent, zero)
