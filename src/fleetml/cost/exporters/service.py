"""The three exporters over one folder: what files tell is computed when they change, and put on the boards as ready bytes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetml.cost.catalogue import Predicted
from fleetml.cost.exporters import text
from fleetml.cost.exporters.folder import Folder
from fleetml.cost.exporters.overlaps import Span, mixed
from fleetml.cost.exporters.pages import Board, Page, document, page
from fleetml.cost.exporters.prometheus import Prometheus
from fleetml.cost.exporters.text import Rates, Row
from fleetml.cost.scenarios import Results, Scenario
from fleetml.errors import FleetMLError, Unavailable
from fleetml.frozen import frozen, replace

AGAIN = 60.0
"""Seconds until a Prometheus that did not answer is asked again."""
NAMES = ("cost", "qoe", "results")
METRICS, HEALTH, READY = "/metrics", "/health", "/ready"

_FIRST = "the folder was not looked at yet"
_NOT_YET = Page(f"{_FIRST}; ask again\n".encode(), b"", "text/plain; charset=utf-8", 503)

log = logging.getLogger(__name__)


@frozen
class Sources:
    """Where figures come from besides the files.

    rates: called at each look; what it returns is compared with what it returned before. predict: a model of power, as
    `rates`; None of it: nothing is predicted. prometheus: None: what the files lack is absent.
    """

    rates: Callable[[], Rates]
    predict: Callable[[], Callable[[Scenario], Predicted | None] | None] = lambda: None
    prometheus: Prometheus | None = None


@frozen
class Told:
    """What one file tells at each endpoint; `when` it was measured [s since the epoch].

    later: what is to be asked again. spans: of its scenarios, those that Prometheus is asked of (`asked`) and all.
    """

    run_id: str
    when: float
    scenarios: int
    rows: Mapping[str, tuple[Row, ...]]
    remarks: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    asked: frozenset[Span] = frozenset()
    spans: tuple[Span, ...] = ()


class Exporters:
    """Looks at a folder and keeps the boards of some endpoints of `NAMES`."""

    def __init__(self, folder: Path, sources: Sources, names: Iterable[str] = NAMES) -> None:
        self.boards = {name: Board({METRICS: _NOT_YET}) for name in names}
        self._folder = Folder(folder, self._told)
        self._sources = sources
        self._with: tuple[Any, ...] = ()
        self._again = 0.0
        self._silent = ""
        self._mixed: frozenset[Span] = frozenset()
        self._problems: tuple[str, ...] = (_FIRST,)
        self._say(self._problems, 503)

    def look(self, faults: tuple[str, ...] = ()) -> bool:
        """Take in what changed, and put it on the boards; return whether the figures did. `faults` are told beside ours."""
        wrong = [*faults, *self._refresh()]
        changed = self._folder.look()
        if changed and self._untangled():
            self._folder.look()
        if changed:
            for name, board in self.boards.items():
                board.pages[METRICS] = self._page(name)
        problems = (*wrong, *self._wrong())
        if changed or problems != self._problems:
            self._say(problems, 503 if self._folder.fault else 200)
        return changed

    def text(self) -> bytes:
        """Return all there is to push, compressed; b"" before the first look. Parts that are compressed make a whole."""
        return b"".join(board.pages[METRICS].packed for board in self.boards.values())

    def run(self, seconds: float, end: threading.Event, after: Callable[[bool], tuple[str, ...]]) -> None:
        """Look every few seconds until told to end. `after` a look is told whether figures changed, and returns faults."""
        faults: tuple[str, ...] = ()
        while not end.is_set():
            try:
                faults = after(self.look(faults))
            except Exception:  # one look that fails must not be the last
                log.exception("this look failed, the next is in %g s; a mistake of FleetML itself", seconds)
            end.wait(seconds)

    def _refresh(self) -> Iterator[str]:
        """Have all files read again where rates or the model changed, and those of which Prometheus owes something."""
        try:
            now = (self._sources.rates(), self._sources.predict())
        except FleetMLError as error:
            yield str(error)
        else:
            if now != self._with:
                self._with = now
                self._folder.forget(self._folder.made)
        if time.monotonic() >= self._again:
            self._silent, self._again = "", time.monotonic() + AGAIN
            self._folder.forget(name for name, told in self._folder.made.items() if told.later)

    def _told(self, results: Results) -> Told:
        """Return what a file tells."""
        remarks: list[str] = []
        later: list[str] = []
        spans = {each.name: _span(each, results.run_id) for each in results.scenarios if each.start_time is not None}
        prometheus = self._sources.prometheus
        asked = {each.name for each in results.scenarios if prometheus and prometheus.lacks(each)}
        whole = tuple(
            self._complete(each, spans[each.name], remarks, later) if each.name in asked else each
            for each in results.scenarios
        )
        results = replace(results, scenarios=whole)
        rows = {
            name: tuple(row for scenario in whole if (row := self._row(name, scenario, results)))
            for name in self.boards
        }
        return Told(
            run_id=results.run_id,
            when=results.when,
            scenarios=len(whole),
            rows=rows,
            remarks=(*results.remarks, *remarks),
            later=tuple(later),
            asked=frozenset(spans[name] for name in asked),
            spans=tuple(spans.values()) if prometheus else (),
        )

    def _untangled(self) -> bool:
        """Have the files read again whose scenarios came to overlap with another file's, or do no longer; say whether any."""
        told = self._folder.made
        spans = mixed(span for each in told.values() for span in each.spans)
        other = spans ^ self._mixed
        names = [name for name, each in told.items() if each.asked & other]
        self._mixed = spans
        self._folder.forget(names)
        return bool(names)

    def _row(self, name: str, scenario: Scenario, results: Results) -> Row | None:
        rates, predict = self._with
        if name == "cost":
            return text.cost_row(scenario, results.baseline, rates)
        if name == "qoe":
            return text.qoe_row(scenario)
        predicted = predict(scenario) if predict else None
        return text.results_row(scenario, results.baseline, predicted, results.run_id)

    def _complete(self, scenario: Scenario, span: Span, remarks: list[str], later: list[str]) -> Scenario:
        prometheus = self._sources.prometheus
        if prometheus is None:
            return scenario
        if span in self._mixed:
            remarks.append(
                f"{scenario.name!r} was measured at the same time as a scenario of another file; nothing is asked of "
                "Prometheus, as it would tell the power of both; measure them apart"
            )
            return scenario
        if self._silent:
            later.append(f"{scenario.name!r}: {self._silent}")
            return scenario
        try:
            return prometheus.complete(scenario, remarks)
        except Unavailable as error:
            later.append(f"{scenario.name!r}: {error}")
            if prometheus.is_over(scenario):
                self._silent = str(error)
            return scenario

    def _latest(self) -> list[Told]:
        return sorted(self._folder.made.values(), key=lambda told: (told.when, told.run_id), reverse=True)

    def _page(self, name: str) -> Page:
        rows = text.distinct(row for told in self._latest() for row in told.rows[name])
        return page({"cost": self._cost, "qoe": self._qoe, "results": self._results}[name](rows))

    def _cost(self, rows: list[Row]) -> Iterator[bytes]:
        yield text.single("cost_exporter_alive", "1: the exporter runs", 1)
        yield from text.families(text.COST, rows, self._with[0].prices.currency)

    def _qoe(self, rows: list[Row]) -> Iterator[bytes]:
        yield from text.families(text.QOE, rows)

    def _results(self, rows: list[Row]) -> Iterator[bytes]:
        yield text.single("results_exporter_up", "1: the folder of results can be read", int(not self._folder.fault))
        yield text.single("results_scenarios_total", "Scenarios that are told", len(rows))
        yield from text.families(text.RESULTS, rows)

    def _wrong(self) -> Iterator[str]:
        if self._folder.fault:
            yield self._folder.fault
        yield from self._folder.faults.values()
        for told in self._folder.made.values():
            yield from told.remarks
            yield from told.later

    def _say(self, problems: tuple[str, ...], status: int) -> None:
        """Put on the boards, and into the log what was not there before, what is wrong. `status`: of readiness."""
        for problem in set(problems) - set(self._problems):
            log.warning("%s", problem.encode(errors="replace").decode())  # a file's name may be no text
        self._problems = problems
        told = {
            "folder": str(self._folder.path),
            "files": len(self._folder.made),
            "scenarios": sum(told.scenarios for told in self._folder.made.values()),
            "problems": list(problems),
        }
        for name, board in self.boards.items():
            board.pages[HEALTH] = document(200, {"status": "ok", "exporter": name})
            board.pages[READY] = document(status, {"ready": status == 200, "exporter": name, **told})


def _span(scenario: Scenario, run_id: str) -> Span:
    start, end = scenario.start_time or 0.0, scenario.end_time or 0.0
    return start, end, scenario.name, run_id
