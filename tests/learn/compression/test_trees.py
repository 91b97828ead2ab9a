import math

import numpy as np
import pytest

from fleetml.errors import InvalidParameter
from fleetml.learn import search_space
from fleetml.learn.compression import chains, graphs, search, trees
from fleetml.learn.compression.forecasters import ForecasterData
from fleetml.learn.compression.search import Target
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.tabular_trainer import TabularTrainer

FAMILIES = ("random_forest", "extra_trees", "xgboost", "lightgbm")


@pytest.fixture(scope="session")
def ensembles():
    return {}


@pytest.fixture
def data(ensembles, windows):
    """Return a function that gives the data of a tree ensemble, trained once."""
    train, val = windows(400), windows(60, seed=1)

    def make(family):
        if family not in ensembles:
            trainer = TabularTrainer(train, val, seed=0)
            chosen = search_space.defaults(trainer.families[family])
            ensembles[family] = trainer.train(family, chosen, math.inf, lambda epoch, score: None).graph
        return ForecasterData(ensembles[family], train, val, 0, 0)

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_trees_written_short_answer_the_same_to_the_bit_in_less_than_half_the_bytes(data, family):
    given = data(family)
    before = given.original()
    after = given.finished(graphs.compact(trees.fewer_leaves(before, 1.0, given).graph))
    assert before.size_bytes / after.ByteSize() > 2
    said = [Forecaster(each.SerializeToString()).forecast(given.judged) for each in (before.graph, after)]
    assert np.array_equal(*said)


def test_missing_values_go_the_way_they_went(data):
    given = data("lightgbm")
    before, after = given.original(), trees.fewer_leaves(given.original(), 1.0, given)
    some = given.judged
    some.covariates[:] = np.nan
    assert np.array_equal(*(Forecaster(each.graph.SerializeToString()).forecast(some) for each in (before, after)))


@pytest.mark.parametrize("family", FAMILIES)
def test_rounded_and_fewer_leaves_are_smaller_still_and_answer_nearly_the_same(data, family):
    given = data(family)
    before = given.original()
    sizes = [trees.int8_leaves(before, share, given).size_bytes for share in (1.0, 0.5, 0.2)]
    assert trees.fewer_leaves(before, 1.0, given).size_bytes > sizes[0] > sizes[1] > sizes[2]
    rounded = trees.int8_leaves(before, 1.0, given)
    assert given.figure(rounded.graph) == pytest.approx(given.figure(before.graph), rel=0.02)


def test_the_leaves_that_cost_least_are_merged_and_a_tree_may_become_one_leaf():
    # x <= 0 ? (x <= -1 ? 1.0 : 1.1) : (x <= 1 ? 5 : 9)
    tree = trees.Ensemble(
        roots=np.array([0]),
        feature=np.zeros(7, int),
        mode=np.zeros(7, int),
        value=np.array([0.0, -1.0, 1.0, 1.0, 1.1, 5.0, 9.0]),
        missing_yes=np.zeros(7, int),
        yes=np.array([1, 3, 5, -1, -1, -1, -1]),
        no=np.array([2, 4, 6, -1, -1, -1, -1]),
    )
    visits = trees._visits(tree, np.array([[-2.0], [-2.0], [-0.5], [0.5], [2.0]], np.float32))
    assert visits.tolist() == [5, 3, 2, 2, 1, 1, 1]
    three = trees.merged(tree, visits, 0.75)
    assert three.yes[1] == -1
    assert three.value[1] == pytest.approx((3 * 1.0 + 2 * 1.1) / 5)
    assert three.yes[2] == 5
    one = trees.merged(tree, visits, 0.01)
    assert one.yes[0] == -1


def test_a_search_finds_trees_that_meet_a_target(data):
    found = search.search(data("random_forest"), Target(0.05, ratio=2.5))
    assert found.met, found.reason
    assert found.method.startswith("int8_leaves")
    assert {point["params"]["numbers"] for point in found.points} == set(chains.TREES)


def test_trees_out_of_reach_of_a_target_are_best_effort(data):
    found = search.search(data("random_forest"), Target(0.05, ratio=1000), trials=2)
    assert not found.met
    assert found.reason.startswith("best effort: none of 2 chains is 1000 times smaller")
    assert found.ratio > 2


def test_trees_in_fp16_are_refused_with_what_to_do(data):
    with pytest.raises(InvalidParameter, match=r"'fp16'.*'random_forest'.*float32.*use int8"):
        search.search(data("random_forest"), Target(0.05), precision="fp16")
