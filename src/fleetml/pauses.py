"""Work that pauses before whatever may take long: who does it may do the rest in a thread of its own.

A step that is a hit is over within a millisecond, for which a thread is not worth its start; and threads of Python that do
such work at once wait longer for one another, at each file they open, than the work takes (docs/adr/0007).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Pausing = Generator[None, None, T]


def finish(work: Pausing[T]) -> T:
    """Do all the work there is, or all that is left; return what comes of it."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value
