import math

import pytest

from fleetml.errors import InvalidParameter
from fleetml.learn import export, flops
from fleetml.learn.architectures import Architecture
from fleetml.learn.limits import Limits, Price
from fleetml.learn.neural import Network


def test_a_price_is_that_of_the_graph(meta):
    graph = export.from_torch(Network(meta, Architecture("mlp", 8, 1)), meta, {})
    price = Limits(latency_ms=1e-9).price(graph)
    assert 0 < price.latency_ms < 1000
    assert flops.Cost(price.parameters, price.operations) == flops.count(graph)


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
