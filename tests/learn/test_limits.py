import math

import pytest

from fleetml.errors import InvalidParameter
from fleetml.learn import export, flops, search_space
from fleetml.learn.architectures import Architecture
from fleetml.learn.limits import Limits, Price, price_of
from fleetml.learn.neural import Network
from fleetml.learn.tables.trees import comparisons
from fleetml.learn.tabular_trainer import TabularTrainer


def test_a_price_is_that_of_the_graph(meta):
    graph = export.from_torch(Network(meta, Architecture("mlp", 8, 1)), meta, {})
    price = Limits(latency_ms=1e-9).price(graph)
    assert 0 < price.latency_ms < 1000
    assert flops.Cost(price.parameters, price.operations) == flops.count(graph)


@pytest.mark.parametrize("family", ["random_forest", "xgboost", "lightgbm"])
def test_trees_cost_the_comparisons_of_their_longest_ways_for_each_step(windows, family):
    trainer = TabularTrainer(windows(60), windows(20, seed=1), 0)
    point = search_space.defaults(trainer.families[family])

    def operations(trees):
        made = trainer.train(family, {**point, "trees": trees}, math.inf, lambda epoch, score: None)
        return price_of(made.graph, 0.0).operations, comparisons(made.graph), flops.count(made.graph).operations

    (few, asked, others), (many, more, _) = operations(3), operations(9)
    assert few == asked * trainer.meta.horizon + others
    assert asked >= 3
    assert many - few == (more - asked) * trainer.meta.horizon > 0


def test_what_is_above_is_named_and_by_how_much():
    limits = Limits(latency_ms=2.0, operations=1000)
    assert limits.excess(Price(1.0, 10**9, 1500)) == {"latency_ms": -0.5, "operations": 0.5}
    assert limits.reason(Price(1.0, 10**9, 1500)) == "1500 operations exceed the limit of 1000"
    assert limits.reason(Price(2.5, 1, 1500)).startswith("latency 2.50 ms exceeds the limit of 2 ms; 1500 operations")
    assert limits.reason(Price(2.0, 1, 1000)) == ""
    assert Limits().excess(Price(1e9, 10**9, 10**12)) == {}


@pytest.mark.parametrize("limits", [{"latency_ms": 0.0}, {"parameters": -1}, {"operations": math.nan}])
def test_a_limit_that_nothing_keeps_is_refused(limits):
    with pytest.raises(InvalidParameter, match="must be positive"):
        Limits(**limits)
