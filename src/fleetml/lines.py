"""Lines on their way from a command to its log: who takes them takes one, or says that it takes several at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Take = Callable[[str], None]
"""Takes one line, without its end. One with a method `several` is given a list of lines in one call instead."""


def taker(take: Take) -> Callable[[Sequence[str]], None]:
    """Return what hands several lines on to `take`: in one call where it can, for a call for each would take minutes."""
    several: Callable[[Sequence[str]], None] | None = getattr(take, "several", None)
    if several is not None:
        return several

    def one_by_one(lines: Sequence[str]) -> None:
        for line in lines:
            take(line)

    return one_by_one
