"""The points that a sampler weighs: coded for a model, drawn, moved, climbed from; each of them not asked before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution

from fleetml.learn.study import positions

# A point: the value of each parameter in the order of the space, of a choice its place among the choices
Point = tuple[float, ...]
_DRAWN, _BEST, _CLIMBED, _STEPS, _TRIES = 500, 5, 5, 10, 60
# How far, of its range, a number is moved to have neighbours; and how far at random (its standard deviation)
_REACHES, _FAR = (0.01, 0.1), 0.1


class Candidates:
    """Of a space, by one random generator; `seen` are not proposed."""

    def __init__(self, space: Mapping[str, BaseDistribution], random: np.random.Generator) -> None:
        self.space, self.random = dict(space), random
        self.kinds = list(self.space.values())
        self.choice = np.array([isinstance(each, CategoricalDistribution) for each in self.kinds])
        self.seen: set[Point] = set()

    def point_of(self, params: Mapping[str, Any]) -> Point:
        """Return parameters as a point."""
        return tuple(
            float(each.choices.index(params[name])) if isinstance(each, CategoricalDistribution) else params[name]
            for name, each in self.space.items()
        )

    def params_of(self, point: Point) -> dict[str, Any]:
        """Return a point as parameters."""
        return {
            name: each.choices[int(value)] if isinstance(each, CategoricalDistribution) else value
            for (name, each), value in zip(self.space.items(), point, strict=True)
        }

    def coded(self, points: Sequence[Point]) -> npt.NDArray[np.float64]:
        """Return points [n, d]: numbers as positions from 0 to 1, choices as places."""
        return np.array([[self._position(at, value) for at, value in enumerate(point)] for point in points])

    def drawn(self, uniform: Sequence[float]) -> Point:
        """Return the point of numbers from [0, 1)."""
        return tuple(
            float(int(at * len(each.choices)))
            if isinstance(each, CategoricalDistribution)
            else positions.drawn(each, at)
            for each, at in zip(self.kinds, uniform, strict=True)
        )

    def neighbour(self, point: Point, changes: int = 1) -> Point:
        """Return a point with so many parameters moved, each by chance."""
        moved = list(point)
        for at in self.random.choice(len(moved), min(changes, len(moved)), replace=False):
            moved[at] = self._moved(int(at), point[at])
        return tuple(moved)

    def unseen(self, point: Point, around: Point | None = None) -> Point:
        """Return the point, or else a new one: a neighbour that is the further the longer none is found."""
        for attempt in range(_TRIES):
            if point not in self.seen:
                break
            if around is None:
                point = self.drawn(self.random.random(len(self.kinds)))  # type: ignore[arg-type]
            else:
                point = self.neighbour(around, 1 + attempt * len(self.kinds) // _TRIES)
        return point

    def climb(self, worth: Callable[[list[Point]], npt.NDArray[np.float64]], ranked: Sequence[Point]) -> Point:
        """Return the unseen point of the largest worth that is found; `ranked`: what was asked, the best first."""
        start = [self.drawn(row) for row in self.random.random((_DRAWN, len(self.kinds)))]
        start += [near for point in ranked[:_BEST] for near in self.neighbours(point)]
        start = [point for point in start if point not in self.seen]
        if not start:
            return self.unseen(ranked[0], ranked[0])
        said = worth(start)
        tops = [(float(said[index]), start[index]) for index in np.argsort(-said)[:_CLIMBED]]
        return max((self._climbed(worth, *top) for top in tops), key=lambda top: top[0])[1]

    def neighbours(self, point: Point) -> list[Point]:
        """Return the points that differ in one parameter: all other choices, the next two steps, two reaches."""
        found: dict[Point, None] = {}
        for at, value in enumerate(point):
            for other in self._others(at, value):
                if other != value:
                    found[(*point[:at], other, *point[at + 1 :])] = None
        return list(found)

    def _climbed(
        self, worth: Callable[[list[Point]], npt.NDArray[np.float64]], best: float, point: Point
    ) -> tuple[float, Point]:
        for _ in range(_STEPS):
            near = [each for each in self.neighbours(point) if each not in self.seen]
            said = worth(near) if near else np.array([-np.inf])
            if said.max() <= best:
                break
            best, point = float(said.max()), near[int(said.argmax())]
        return best, point

    def _others(self, at: int, value: float) -> list[float]:
        kind = self.kinds[at]
        if isinstance(kind, CategoricalDistribution):
            return [float(each) for each in range(len(kind.choices))]
        step, here = 1 / (positions.count(kind) - 1), self._position(at, value)
        reaches = (step, 2 * step) if step > _REACHES[0] and not kind.log else _REACHES  # type: ignore[attr-defined]
        places = [here + sign * reach for reach in reaches for sign in (-1, 1)]
        return [positions.value_at(kind, place) for place in places if -1e-9 <= place <= 1 + 1e-9]

    def _moved(self, at: int, value: float) -> float:
        kind = self.kinds[at]
        if isinstance(kind, CategoricalDistribution):
            others = [each for each in self._others(at, value) if each != value]
            return others[self.random.integers(len(others))]
        step = max(1 / (positions.count(kind) - 1), abs(self.random.normal(0, _FAR)))
        here = self._position(at, value)
        up = here - step < 0 or (here + step <= 1 and self.random.random() < 0.5)
        return float(positions.value_at(kind, here + (step if up else -step)))

    def _position(self, at: int, value: float) -> float:
        return value if self.choice[at] else positions.position(self.kinds[at], value)
