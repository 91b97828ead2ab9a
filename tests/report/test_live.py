import io
import time

from rich.console import Console

from fleetml.records import Attempt
from fleetml.report.live import Steps

LABELS = {"ingest": "Ingest", "promote/register": "Register", "gate": "Gate"}


def _attempt(state: str = "succeeded", cached: bool = False, **more) -> Attempt:
    now = time.time()
    return Attempt("ingest", 1, state, now - 2, now, outcome={"cached": cached}, **more)


def _shown(terminal: bool, *changes, no_color: bool = True) -> str:
    sink = io.StringIO()
    console = Console(file=sink, force_terminal=terminal, width=120, no_color=no_color, highlight=False)
    with Steps(LABELS, console) as tell:
        for change in changes:
            tell(*change)
    return sink.getvalue()


def test_in_a_pipe_each_change_is_one_plain_line():
    shown = _shown(
        False,
        ("ingest", "pending"),
        ("ingest", "running"),
        ("ingest", "running"),
        ("ingest", "succeeded", _attempt(figures={"rows": 345600, "vms": 40, "days": 30.0, "more": 1})),
        ("gate", "skipped", Attempt("gate", 1, "skipped", reason="promote is false")),
    )
    lines = shown.splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["0.0", "s", "Ingest", "running"]
    assert lines[1].endswith("Ingest    succeeded             2.0 s  rows 345,600, vms 40, days 30")
    assert lines[2].endswith("promote is false")
    assert "\x1b" not in shown


def test_a_reused_step_is_called_cached():
    assert "cached" in _shown(False, ("ingest", "succeeded", _attempt(cached=True)))


def test_a_record_of_an_earlier_attempt_is_not_taken_for_this_one():
    shown = _shown(False, ("ingest", "running", _attempt("failed", reason="old")))
    assert "old" not in shown


def test_a_terminal_shows_every_step_in_a_table():
    shown = _shown(True, ("ingest", "running"), ("ingest", "succeeded", _attempt(figures={"rows": 3})))
    assert "✓ Ingest" in shown
    assert "· Register" in shown
    assert "rows 3" in shown
