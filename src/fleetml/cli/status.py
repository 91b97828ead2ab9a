"""``fleetml status [RUN]``: the runs of this project, or the steps of one."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.records import Attempt, Run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, if any."""
    parser.add_argument("run", nargs="?", help="a run id; without: every run, the latest first")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print a line per run, or a line per step."""
    from fleetml.cli.output import say
    from fleetml.records import Run, runs

    if args.run is None:
        for document in runs(settings.home):
            say(_line(Run(settings.home, document["run_id"]), document))
        return 0
    records = Run(settings.home, args.run)
    document = records.read()
    say(_line(records, document))
    latest, before = records.latest(), _earlier(settings, document)
    width = max(map(len, document["steps"]), default=0)
    for step in document["steps"]:
        say(f"  {step:<{width}}  {_shown(latest.get(step), before)}".rstrip())
    return 0


def _line(records: Run, document: dict[str, Any]) -> str:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(document.get("started", 0)))
    state = document["state"]
    if records.abandoned():
        state = f"died (go on with: fleetml resume {records.run_id})"
    return f"{records.run_id}  {state}  {document['engine']}  {document['pipeline']}  {started}"


def _shown(attempt: Attempt | None, before: dict[str, Attempt]) -> str:
    from fleetml.cli.output import shown_state
    from fleetml.report import text

    if attempt is None:
        return "pending"
    figures = text.figures(attempt.figures) or attempt.reason
    why = _why_run(attempt, before.get(attempt.step))
    return f"{shown_state(attempt):<15} {text.seconds(attempt.seconds):>10}  {figures}{f'  ({why})' if why else ''}"


def _earlier(settings: Settings, document: dict[str, Any]) -> dict[str, Attempt]:
    """The last success of each step in the runs of the same pipeline before this one."""
    from fleetml.records import Run, runs

    found: dict[str, Attempt] = {}
    for other in runs(settings.home):
        if other["pipeline"] == document["pipeline"] and other.get("started", 0) < document["started"]:
            for step, attempt in Run(settings.home, other["run_id"]).latest().items():
                if attempt.state == "succeeded":
                    found.setdefault(step, attempt)
            if all(step in found for step in document["steps"]):
                break
    return found


def _why_run(attempt: Attempt, before: Attempt | None) -> str:
    """Why a step was run and not taken from the cache, as far as the records tell."""
    if attempt.cached or attempt.usage is None:
        return ""
    if not attempt.key:
        return "never cached"
    if before is None or not before.parts:
        return "first run"
    changed = [name for name, part in (attempt.parts or {}).items() if before.parts.get(name) != part]
    return f"{', '.join(changed)} changed" if changed else "cache off, or its result was gone"
