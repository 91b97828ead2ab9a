"""The steps of a run while it goes on: a table that changes on a terminal, a line per change in a pipe."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fleetml.records import Attempt
from fleetml.report import text

# state -> (sign, style)
_SIGNS = {
    "pending": ("·", "dim"),
    "running": ("▸", "bold cyan"),
    "succeeded": ("✓", "green"),
    "cached": ("↺", "green"),
    "skipped": ("∅", "dim"),
    "failed": ("✗", "bold red"),
    "cancelled": ("✗", "yellow"),
    "upstream_failed": ("∅", "red"),
}
_QUIET = ("pending",)  # in a pipe a step is worth a line when it begins and when it is over


@dataclass
class _Row:
    label: str
    state: str = "pending"
    since: float = 0.0
    seconds: float = 0.0
    note: str = ""


@dataclass
class Steps:
    """Shows the steps of one run on a console: a context that gives the function to tell of changes.

    `labels` are the names for people of all steps, in order.
    """

    labels: Mapping[str, str]
    console: Console
    _rows: dict[str, _Row] = field(default_factory=dict)
    _live: Live | None = None
    _began: float = 0.0

    def __enter__(self) -> Callable[[str, str, Attempt | None], None]:
        self._rows = {step: _Row(label) for step, label in self.labels.items()}
        self._began = time.monotonic()
        if self.console.is_terminal:
            self._live = Live(self, console=self.console, refresh_per_second=4)
            self._live.start()
        return self.update

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def _row(self, step: str) -> _Row:
        """Return the row of a step; iterations of a loop come up when it is unfolded, in the loop's place."""
        if step not in self._rows:
            for around in [name for name in self._rows if step.startswith(f"{name}/")]:
                del self._rows[around]
            self._rows[step] = _Row(step)
        return self._rows[step]

    def update(self, step: str, state: str, attempt: Attempt | None = None) -> None:
        """Tell the new state of a step, and its record once there is one; an unchanged state is not told again."""
        row = self._row(step)
        if attempt and attempt.state == state:
            state = "cached" if attempt.cached else state
            row.seconds = attempt.seconds
            row.note = text.figures(attempt.figures) or attempt.reason
        if state == row.state:
            return
        if state == "running":
            row.since = time.monotonic()
        row.state = state
        if not self._live and state not in _QUIET:
            self._print(row)

    def _print(self, row: _Row) -> None:
        taken = text.seconds(row.seconds) if row.state in ("succeeded", "cached", "failed") else ""
        clock = time.monotonic() - self._began
        line = f"{clock:6.1f} s  {row.label:<{self._width}}  {row.state:<15}  {taken:>10}  {row.note}"
        self.console.print(Text(line.rstrip()), soft_wrap=True)

    @property
    def _width(self) -> int:
        return max(len(row.label) for row in self._rows.values())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table as it is now."""
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(overflow="ellipsis", no_wrap=True)
        for row in self._rows.values():
            sign, style = _SIGNS.get(row.state, ("?", ""))
            seconds = time.monotonic() - row.since if row.state == "running" else row.seconds
            shown = text.seconds(seconds) if row.state in ("running", "succeeded", "cached", "failed") else ""
            table.add_row(Text(f"{sign} {row.label}", style), Text(row.state, style), shown, Text(row.note))
        yield table


def live(labels: Mapping[str, str]) -> Steps:
    """Return the steps of a run on standard output."""
    return Steps(labels, Console(highlight=False))
