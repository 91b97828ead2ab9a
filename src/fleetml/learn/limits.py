"""What a graph may cost at most, and by how much one costs more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetml.errors import InvalidParameter
from fleetml.learn import search
from fleetml.learn.search import TooSlow

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Price:
    """What one graph costs: its latency [ms, median of one row on one thread], parameters, and operations of one row [FLOPs]."""

    latency_ms: float
    parameters: int
    operations: int


def price_of(graph: onnx.ModelProto, latency_ms: float) -> Price:
    """Return what a forecaster of that latency costs; the operations of a tree are the comparisons of its longest way, for each step."""
    from fleetml.learn import flops
    from fleetml.learn.graph import describe
    from fleetml.learn.tables.trees import comparisons

    counted = flops.count(graph)
    asked = comparisons(graph)
    if asked:
        asked *= describe(graph).meta.horizon
    return Price(latency_ms, counted.parameters, counted.operations + asked)


@dataclass(frozen=True)
class Limits:
    """The most a graph may cost; infinity: as much as it likes. Raises InvalidParameter for a limit nothing could keep."""

    latency_ms: float = math.inf
    parameters: float = math.inf
    operations: float = math.inf

    def __post_init__(self) -> None:
        for name in ("latency_ms", "parameters", "operations"):
            if not getattr(self, name) > 0:
                raise InvalidParameter(f"a limit of {name} must be positive, got {getattr(self, name)}; raise it")

    def price(self, graph: onnx.ModelProto) -> Price:
        """Return what a graph costs. Its latency is measured again, thrice at most, while it is above the limit."""
        try:
            latency_ms = search.check_latency(graph, self.latency_ms)
        except TooSlow as slow:
            latency_ms = slow.latency_ms
        return price_of(graph, latency_ms)

    def excess(self, price: Price) -> dict[str, float]:
        """Return by how much a price is above each limit there is, as a share of it: at most 0 is inside."""
        limits = {name: getattr(self, name) for name in ("latency_ms", "parameters", "operations")}
        return {name: getattr(price, name) / most - 1 for name, most in limits.items() if math.isfinite(most)}

    def reason(self, price: Price) -> str:
        """Return which limits a price is above, "" where none."""
        over = [name for name, share in self.excess(price).items() if share > 0]
        said = {
            "latency_ms": f"latency {price.latency_ms:.2f} ms exceeds the limit of {self.latency_ms:g} ms",
            "parameters": f"{price.parameters} parameters exceed the limit of {self.parameters:g}",
            "operations": f"{price.operations} operations exceed the limit of {self.operations:g}",
        }
        return "; ".join(said[name] for name in over)
