"""Scenarios of several files at the same time: a Prometheus sums the power of all machines, which then belongs to none of them.

Within a file they are left out when it is read; here it is what is asked that is left out.
"""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[float, float, str, str]
"""Start and end of a scenario [s since the epoch], its name, its file."""


def mixed(spans: Iterable[Span]) -> frozenset[Span]:
    """Return those that overlap with one of another file, copies of the same measurement left out of account."""
    found: set[Span] = set()
    going: list[Span] = []
    for span in sorted(spans):
        going = [other for other in going if other[1] > span[0]]
        others = [other for other in going if other[3] != span[3] and other[:3] != span[:3]]
        if others:
            found.update((span, *others))
        going.append(span)
    return frozenset(found)
