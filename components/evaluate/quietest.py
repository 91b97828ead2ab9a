"""How fast a graph is, on a machine that others use too."""

from collections.abc import Callable

ROUNDS = 5


def quietest(latency: Callable[[bytes, int], tuple[float, float]], graph: bytes) -> tuple[float, float]:
    """Return p50 and p99 [ms] of the quietest of several measurements: a neighbour's burst is no property of a graph.

    `latency` takes the graph and how often it is run.
    """
    return min((latency(graph, 200) for _ in range(ROUNDS)), key=lambda pair: pair[1])
