"""What the commands print: lines for a person or a pipe, with nothing but the standard library."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fleetml.records import Attempt
from fleetml.redaction import without_passwords
from fleetml.report import text

Tell = Callable[[str, str, Attempt | None], None]
"""Told a step, its new state, and its record once there is one."""
_LONGEST = 500


def say(line: str = "") -> None:
    """Print to standard output, at once. Where its reader is gone (`| head`) the rest is for nobody, and no error."""
    try:
        print(without_passwords(line), flush=True)  # noqa: T201
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  for as long as this process lives


def complain(line: str) -> None:
    """Print to standard error."""
    print(without_passwords(line), file=sys.stderr, flush=True)  # noqa: T201


def say_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of texts under their heads, each column as wide as its widest text; nothing where there is no row."""
    lines = [head, *rows] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say("  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip())


def shown_state(attempt: Attempt) -> str:
    """A success that nothing was run for is called cached."""
    return "cached" if attempt.cached else attempt.state


def say_outputs(outputs: Mapping[str, Any]) -> None:
    """Print a line per output of a pipeline (`Plan.published`): a parameter's value as JSON, an artifact's URI."""
    for name, value in outputs.items():
        shown = _uris(value) or json.dumps(value, ensure_ascii=False)
        say(f"output {name} = {shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + '…'}")


def _uris(value: Any) -> str:
    entries = value if isinstance(value, list) else [value]
    artifacts = all(isinstance(entry, dict) and set(entry) == {"uri", "digest"} for entry in entries)
    return ", ".join(entry["uri"] for entry in entries) if artifacts else ""


def _lines(labels: Mapping[str, str]) -> Tell:
    """Return what prints a line per change."""
    began = time.monotonic()
    width = max(map(len, labels), default=0)

    def tell(step: str, state: str, attempt: Attempt | None) -> None:
        state = shown_state(attempt) if attempt else state
        taken = text.seconds(attempt.seconds) if attempt and state not in ("skipped", "upstream_failed") else ""
        note = (text.figures(attempt.figures) or attempt.reason) if attempt else ""
        clock = time.monotonic() - began
        say(f"{clock:6.1f} s  {step:<{width}}  {state:<15} {taken:>10}  {note}".rstrip())

    return tell


def progress(labels: Mapping[str, str]) -> AbstractContextManager[Tell]:
    """Return a context that gives what to tell of the steps: a live table on a terminal, else a line per change.

    `labels` are the steps' names for people. A pipe loads nothing: rich alone would take longer than a run of hits.
    """
    if not sys.stdout.isatty():
        return nullcontext(_lines(labels))
    from fleetml.report.live import live

    return live(labels)
