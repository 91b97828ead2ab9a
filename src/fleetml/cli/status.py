"""``fleetml status [RUN]``: the steps of a run."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.records import Attempt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, if any."""
    parser.add_argument("run", nargs="?", help="a run id (`fleetml ls` lists them); without: the latest run")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print a line about the run, one per step, one per output. Raises ConfigurationError when there is no such run."""
    from fleetml.cli.output import say, say_outputs
    from fleetml.records import Run

    records = Run(settings.home, args.run or _newest(settings))
    document = records.read()
    state = records.state()
    began, took = when(document)
    say(
        f"run {records.run_id}: {state}; pipeline {document['pipeline']}, engine {document['engine']}, "
        f"started {began}{f', took {took}' if took else ''}"
    )
    if state == "died":
        say(f"  its process is gone; go on with: fleetml resume {records.run_id}")
    latest, before = records.latest(), _earlier(settings, document)
    width = max(map(len, (*document["steps"], "STEP")))
    say(f"  {'STEP':<{width}}  {'STATE':<15} {'TOOK':>10}  FIGURES (WHY IT WAS RUN)")
    for step in document["steps"]:
        attempt = latest.get(step)
        if attempt and attempt.state == "running" and state != "running":  # it ended with its engine, nobody knows when
            attempt = replace(attempt, state="died", started=0.0)
        say(f"  {step:<{width}}  {_shown(attempt, before)}".rstrip())
    say_outputs(document.get("outputs") or {})
    return 0


def when(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return when a run began, in local time, and how long it took ("": it is not over)."""
    from fleetml.report import text

    began = document.get("started", 0)
    taken = text.seconds(max(0.0, document["finished"] - began)) if document.get("finished") and began else ""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began)), taken


def _newest(settings: Settings) -> str:
    from fleetml.errors import ConfigurationError
    from fleetml.records import runs

    for document in runs(settings.home):
        return str(document["run_id"])
    raise ConfigurationError(f"no run in {settings.home / 'runs'} yet; start one: fleetml run PIPELINE")


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
    """Why a step was run and not taken from the cache, in a word; `fleetml cache explain` knows more."""
    from fleetml.cache.explain import changed

    if attempt.cached or attempt.usage is None:
        return ""
    if not attempt.key:
        return "never cached"
    if before is None or not before.parts:
        return "first run"
    different = changed(attempt.parts or {}, before.parts)
    return f"{', '.join(different)} changed" if different else "cache off, or its result was gone"
