"""What happened when: lines while it goes on, in colours on a terminal, and the list of it for the page."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from fleetml.errors import StepFailed


class DidNotHappen(StepFailed):
    """A phase of the loop that was due did not happen."""


@dataclass(frozen=True)
class Mark:
    """Something that happened, at a moment (seconds since the epoch), after `seconds` of its own."""

    name: str
    at: float
    seconds: float
    detail: str


@dataclass
class Timeline:
    """Marks in their order. `zero` is the moment that the clock of the lines counts from."""

    console: Console = field(default_factory=lambda: Console(highlight=False))
    marks: list[Mark] = field(default_factory=list)
    zero: float = field(default_factory=time.time)

    def say(self, line: str, style: str = "dim") -> None:
        self.console.print(Text(f"{'':>10}  {line}", style), soft_wrap=True)

    def mark(self, name: str, since: float, detail: str, at: float | None = None) -> Mark:
        """Note that something happened at `at` (now), `since` when it was waited for."""
        at = time.time() if at is None else at
        made = Mark(name, at, max(0.0, at - since), detail)
        self.marks.append(made)
        line = Text(f"{at - self.zero:+8.1f} s  ")
        line.append(f"{name:<22}", "bold green")
        line.append(f"{made.seconds:7.1f} s  {detail}")
        self.console.print(line, soft_wrap=True)
        return made

    @contextmanager
    def phase(self, name: str) -> Iterator[list[str]]:
        """Note a phase once it is over; what is put into the list is its detail."""
        began, detail = time.time(), list[str]()
        yield detail
        self.mark(name, began, ", ".join(detail))

    def of(self, name: str) -> Mark:
        """Return the last mark of that name. Raises KeyError."""
        found = [mark for mark in self.marks if mark.name == name]
        if not found:
            raise KeyError(name)
        return found[-1]
