import math

import numpy as np
import pytest

from fleetml.learn import conformal, ensemble, search_space
from fleetml.learn import graph as graphs
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.tabular_trainer import TabularTrainer
from fleetml.learn.windows import Meta

FAMILIES = ("linear", "xgboost", "extra_trees")


def trained(family, train, val):
    trainer = TabularTrainer(train, val, 0)
    chosen = search_space.defaults(trainer.families[family])
    return trainer.train(family, chosen, math.inf, lambda epoch, score: None).graph


@pytest.fixture
def members(windows):
    return [trained(family, windows(300), windows(60, seed=1)) for family in FAMILIES]


def test_the_graph_says_the_weighted_mean_of_its_members_and_names_them(members, windows):
    weights = (0.5, 0.3, 0.2)
    some = windows(40, seed=2)
    some.covariates[::3] = np.nan
    made = ensemble.weighted(members, weights)
    said = [Forecaster(each.SerializeToString()).forecast(some) for each in members]
    expected = sum(weight * each for weight, each in zip(weights, said, strict=True))
    np.testing.assert_allclose(Forecaster(made.SerializeToString()).forecast(some), expected, rtol=1e-5)
    about = graphs.check(made)
    assert about.family == "ensemble"
    assert [(each["family"], each["weight"]) for each in about.hyperparameters["members"]] == list(
        zip(FAMILIES, weights, strict=True)
    )


def test_what_members_compute_alike_is_computed_once(members):
    made, nodes = ensemble.weighted(members, (0.5, 0.3, 0.2)), [len(each.graph.node) for each in members]
    own = 30  # of a member: its model, what makes a forecast of its answer, its weight
    assert len(made.graph.node) < max(nodes) + own * len(members)
    assert made.ByteSize() < sum(each.ByteSize() for each in members)


def test_the_same_model_twice_is_one_computation(members, windows):
    made = ensemble.weighted([members[0], members[0]], (0.5, 0.5))
    some = windows(20, seed=2)
    alone = Forecaster(members[0].SerializeToString()).forecast(some)
    np.testing.assert_allclose(Forecaster(made.SerializeToString()).forecast(some), alone, rtol=1e-6)
    assert len(made.graph.node) < len(members[0].graph.node) + 5


def test_the_same_members_give_the_same_bytes(members):
    first, again = (ensemble.weighted(members, (0.5, 0.3, 0.2)).SerializeToString() for _ in range(2))
    assert first == again


def test_members_of_different_windows_are_refused(members, windows):
    other = Meta(context=12, horizon=3, covariates=("vm_metrics:cpu_usage",))
    stranger = trained("linear", windows(300, other), windows(60, other))
    with pytest.raises(InvalidGraph, match="must forecast the same windows"):
        ensemble.weighted([members[0], stranger], (0.5, 0.5))


def test_members_of_different_opsets_are_refused(members):
    for opset in members[1].opset_import:
        if not opset.domain:
            opset.version -= 1
    with pytest.raises(InvalidGraph, match="written in the same opsets"):
        ensemble.weighted(members, (0.5, 0.3, 0.2))


def test_quantiles_of_members_are_not_kept_and_leave_nothing_behind(members, windows):
    with_quantiles = [conformal.calibrated(each, windows(60, seed=1)) for each in members]
    assert all(graphs.describe(each).quantiles for each in with_quantiles)
    made = ensemble.weighted(with_quantiles, (0.5, 0.3, 0.2))
    assert made.SerializeToString() == ensemble.weighted(members, (0.5, 0.3, 0.2)).SerializeToString()


def test_an_ensemble_of_ensembles_says_what_its_members_say(members, windows):
    inner = ensemble.weighted(members[:2], (0.5, 0.5))
    some = windows(20, seed=2)
    said = [Forecaster(each.SerializeToString()).forecast(some) for each in members]
    made = Forecaster(ensemble.weighted([inner, members[2]], (0.4, 0.6)).SerializeToString())
    expected = 0.2 * said[0] + 0.2 * said[1] + 0.6 * said[2]
    np.testing.assert_allclose(made.forecast(some), expected, rtol=1e-5)
