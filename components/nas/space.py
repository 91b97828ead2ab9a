"""The space of architectures as a sampler can search it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fleetml.learn import flat_space, search_space
from fleetml.learn.architectures import FAMILIES
from fleetml.learn.search_space import Hyperparameters
from fleetml.learn.study import space as spaces


@dataclass(frozen=True)
class Searched:
    """The distributions, the points of the families' defaults, and what a point means: the family and its hyperparameters."""

    distributions: spaces.Space
    starts: Sequence[Mapping[str, Any]]
    point: Callable[[Mapping[str, Any]], tuple[str, Hyperparameters]]

    def meant(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a point means as one mapping, for people."""
        family, hyperparameters = self.point(params)
        return {"family": family, **hyperparameters}


def searched(sampler: str) -> Searched:
    """Return the flat space; for evolution the one with conditions.

    Evolution changes one gene of a parent. In the flat space a third of them mean nothing to its family, and the child was the
    same network (half of the children in the benchmark `nas`).
    """
    if sampler == "evolution":
        return Searched(spaces.of_ranges(FAMILIES), search_space.starts(FAMILIES), spaces.in_family)
    return Searched(
        flat_space.flat(FAMILIES), flat_space.starts(FAMILIES), partial(flat_space.point, families=FAMILIES)
    )
