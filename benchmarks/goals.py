"""Which figures have a goal, and whether it is met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Figure = tuple[str, float, str]


def judged(figures: Iterator[Figure], goals: Mapping[str, float]) -> Iterator[Figure]:
    """Yield the figures; behind the unit of those that `goals` name stands the most they may be, and whether they are."""
    for name, value, unit in figures:
        if name in goals:
            unit = f"{unit}  ({'met' if value <= goals[name] else 'NOT MET'}: at most {goals[name]:g})"
        yield name, value, unit
