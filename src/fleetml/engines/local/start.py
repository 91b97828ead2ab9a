"""A step that starts another pipeline, here: a run of its own, with its own record, in this process or beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from fleetml import atomic, ranges
from fleetml.engines.start import Start, asked, find
from fleetml.errors import FleetMLError
from fleetml.events import Listener, StepLine
from fleetml.pipeline import Inputs, Step, load
from fleetml.records import Attempt, Run
from fleetml.runners import Runner
from fleetml.step import Failure, RunContext, StepOutcome
from fleetml.triggers import FILE
from fleetml.triggers import load as load_triggers

if TYPE_CHECKING:
    from fleetml.engines.local.engine import Job


def start(
    step: Step,
    inputs: Inputs,
    context: RunContext,
    runner: Runner,
    notify: Listener,
    cancel: threading.Event,
    workers: int,
) -> StepOutcome:
    """Run one attempt of a step that starts a pipeline; like `fleetml.step.run`.

    The started run has workers of its own, so that it never waits for one that its parent holds.
    """
    records = Run(context.settings.home, context.run_id)
    number, log = records.begin(step.name)
    attempt = Attempt(step.name, number, "running", time.time(), inputs=dict(inputs.parameters))
    outcome = StepOutcome("failed", attempt=number)
    with log.open("a", encoding="utf-8", buffering=1) as stream:

        def tell(line: str) -> None:
            stream.write(line + "\n")
            notify(StepLine(step.name, line))

        try:
            wanted = asked(step, inputs, records, context.pipeline, number)
            attempt = replace(attempt, reason=wanted.told)
            records.write(attempt)
            job = _job(wanted, context, workers)
            outcome = _run(wanted, job, context, runner, tell, cancel) if wanted.wait else _spawn(wanted, job, context)
            told = ("", f"{attempt.reason} failed", False)
        except FleetMLError as error:  # a user's mistake stays one however often it is tried
            told = (type(error).__name__, str(error), True)
    if outcome.state == "failed":
        kind, message, user_error = told
        said = Failure(step.name, kind, message, user_error=user_error, log=str(log), resume=context.resume)
        outcome = replace(outcome, failure=said)
    outcome = replace(outcome, attempt=number, seconds=time.time() - attempt.started)
    record_end(records, attempt, outcome)
    return outcome


def record_end(records: Run, attempt: Attempt, outcome: StepOutcome) -> None:
    """Write the record of a step that started a pipeline. Raises OSError."""
    failure = asdict(outcome.failure) if outcome.failure else None
    ended = replace(attempt, state=outcome.state, finished=time.time(), outcome=outcome.to_json(), failure=failure)
    records.write(ended)


def _job(wanted: Start, context: RunContext, workers: int) -> Job:
    """Return the run to do. Raises FleetMLError for a pipeline that is not there, or parameters it does not take."""
    from fleetml.engines.local.engine import Job  # which runs steps, and so needs this module

    settings = context.settings
    path = find(wanted.pipeline, settings)
    plan, place = load(path, settings.home / "ir"), path.with_name(FILE)
    triggers = load_triggers(place, settings)
    triggers.check(plan, place)
    bound = plan.bind({**triggers.defaults, **wanted.parameters})
    ranges.check(plan, bound)
    return Job(
        plan,
        path,
        bound,
        wanted.run_id,
        {},
        workers,
        context.caching,
        triggers.retries,
        parent=wanted.parent,
        budget=triggers.budget,
    )


def _run(
    wanted: Start, job: Job, context: RunContext, runner: Runner, tell: Callable[[str], None], cancel: threading.Event
) -> StepOutcome:
    """Run the pipeline to its end; its steps are told as they go."""
    from fleetml.engines.local.engine import run

    tell(f"run {wanted.run_id} of {wanted.pipeline}")
    settings = context.settings
    state = run(job, settings, lambda inner, state, _: tell(f"[{inner}] {state.replace('_', ' ')}"), cancel, runner)
    if state != "succeeded":
        return StepOutcome("cancelled" if state == "cancelled" else "failed")
    return StepOutcome("succeeded", parameters=wanted.gives(state, Run(settings.home, job.run_id).read()["outputs"]))


def _spawn(wanted: Start, job: Job, context: RunContext) -> StepOutcome:
    """Start a run that outlives this one: by the command line, in a session of its own."""
    folder, settings = Run(context.settings.home, context.run_id).folder / "started", context.settings
    given, parent = folder / f"{job.run_id}.json", folder / f"{job.run_id}.parent.json"
    atomic.write_json(given, dict(job.parameters))
    atomic.write_json(parent, dict(wanted.parent))
    command = [sys.executable, "-m", "fleetml", "run", str(job.pipeline), "--run-id", job.run_id]
    command += ["--params", str(given), "--parent", str(parent)]
    command += ["--runner", settings.runner, "--workers", str(job.workers), *([] if job.caching else ["--no-cache"])]
    subprocess.Popen(
        command,
        env={**os.environ, **settings.variables()},
        cwd=settings.project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return StepOutcome("succeeded", parameters=wanted.gives("running", {}))
