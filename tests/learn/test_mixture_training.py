import dataclasses
import math

import numpy as np
import pytest
import torch

from fleetml.errors import InvalidData
from fleetml.learn import export, gift_eval
from fleetml.learn.experts import Memory
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.gift_eval import Task
from fleetml.learn.metrics import mase
from fleetml.learn.mixture import Mixture
from fleetml.learn.mixture_head import blocks_of
from fleetml.learn.mixture_training import Examples, Recipe, fit
from fleetml.learn.quantiles import LEVELS

TASK = Task("tiny", 1200, season=24, horizon=4, windows=4)
MEMORY = Memory(past=3, stride=4, reach=4)
RECIPE = Recipe(epochs=20, learning_rate=1e-2, batch_size=64)


def windows(vms: int = 20):
    """VMs whose next four steps are twice their last one, as no expert says."""
    random = np.random.default_rng(0)
    values = random.lognormal(1, 0.5, (vms, 240)).cumsum(axis=1) % 50
    for at in (220, 224, 228, 232):
        values[:, at : at + 4] = 2 * values[:, at - 1 : at] + random.normal(0, 0.1, (vms, 4))
    return gift_eval.cut(values, [220, 224, 228], TASK, MEMORY.context(24))


def fitted(some, recipe, seed=0, report=lambda epoch, loss: None):
    return fit(Examples.of([some[:20], some[20:]], MEMORY), some.meta, MEMORY, recipe, seed, report)


def forecast(network, some):
    with torch.no_grad():
        return network(torch.from_numpy(some.history), torch.from_numpy(some.covariates))[0].numpy()


def test_a_head_learns_what_no_expert_says_and_its_graph_forecasts_the_same():
    some = windows()
    losses = []
    network = fitted(some, RECIPE, report=lambda epoch, loss: losses.append(loss))
    assert len(losses) == RECIPE.epochs
    before = mase(some, forecast(Mixture(some.meta, MEMORY), some))
    assert mase(some, forecast(network, some)) < 0.9 * before
    model = export.from_torch(network, some.meta, {}, LEVELS)
    assert export.check_equal(model, some, forecast(network, some)) < 1e-4
    quantiles = Forecaster(model.SerializeToString()).quantiles(some.history, some.covariates)
    assert (np.diff(quantiles, axis=-1) >= 0).all()


def test_a_head_that_has_learnt_nothing_changes_nothing():
    some = windows(10)
    network = fitted(some, Recipe(epochs=1, learning_rate=0.0))
    np.testing.assert_allclose(forecast(network, some), forecast(Mixture(some.meta, MEMORY), some), rtol=1e-5)


def test_the_same_seed_gives_the_same_head():
    some = windows(10)
    made = [fitted(some, Recipe(epochs=2), seed).head.state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert not all(torch.equal(made[0][name], made[2][name]) for name in made[0])


@pytest.mark.parametrize("horizon", [1, 3, 6])
def test_a_horizon_that_is_no_whole_number_of_blocks_has_those_it_can(horizon):
    some = windows(10)
    short = dataclasses.replace(
        some,
        target=np.resize(some.target, (len(some), horizon)),
        meta=dataclasses.replace(some.meta, horizon=horizon),
    )
    network = fitted(short, Recipe(epochs=2))
    assert forecast(network, short).shape == (len(short), horizon)
    if horizon == 6:
        model = export.from_torch(network, short.meta, {}, LEVELS)
        assert export.check_equal(model, short, forecast(network, short)) < 1e-4


def test_a_head_fitted_to_one_window_says_numbers():
    some = windows(10)
    network = fit(Examples.of([some[:1]], MEMORY), some.meta, MEMORY, Recipe(epochs=2), seed=0)
    assert np.isfinite(forecast(network, some)).all()


def test_every_step_of_the_horizon_is_drawn():
    for horizon in (1, 3, 4, 6, 48, 50):
        bounds = blocks_of(horizon)
        assert [step for begin, end in bounds for step in range(begin, end)] == list(range(horizon))
        assert len(bounds) == min(4, horizon)


def test_windows_that_cannot_be_scored_are_refused():
    some = windows(3)
    empty = dataclasses.replace(some, target=np.full_like(some.target, math.nan))
    with pytest.raises(InvalidData, match="got none"):
        Examples.of([empty], MEMORY)
    with pytest.raises(InvalidData, match="got none"):
        Examples.of([], MEMORY)
