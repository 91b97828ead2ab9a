"""``fleetml run PIPELINE -p name=value``: a pipeline on this machine."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fleetml.cli.count import at_least
from fleetml.frozen import replace
from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.engines.local import Job
    from fleetml.records import Attempt

INTERRUPTED = 130
_SHOWN = 10  # failures that are told one by one; of more than these the first, for they have one cause most often


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pipeline, with what, how."""
    parser.add_argument("pipeline", help="an IR file, a workflow (YAML or JSON), or a folder with a pipeline.yaml")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="repeat as needed")
    parser.add_argument("--params", metavar="FILE", help="parameters as YAML or JSON")
    parser.add_argument("--run-id", help="default: the pipeline's name and the time")
    parser.add_argument("--parent", metavar="FILE", help=argparse.SUPPRESS)  # who started it (docs/adr/0006)
    parser.add_argument("--no-cache", action="store_true", help="run every step anew; its results are still kept")
    add_execution(parser)


def add_execution(parser: argparse.ArgumentParser) -> None:
    """How many steps at once, and what runs them."""
    parser.add_argument(
        "--runner", metavar="NAME", help="subprocess, warm, docker, kubernetes (default: FLEETML_RUNNER)"
    )
    parser.add_argument(
        "--workers", type=at_least(1), default=os.cpu_count() or 1, help="steps at once (default: cores)"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run it; return 0 if every step succeeded or was skipped, 1 if one failed, 130 if interrupted."""
    from fleetml.cli.pipelines import defaults, given, pipeline_file, triggers_of
    from fleetml.engines.local import Job
    from fleetml.pipeline import load
    from fleetml.workflow.source import ir_file

    settings = replace(settings, runner=args.runner or settings.runner)
    path = pipeline_file(args.pipeline)
    ir = ir_file(path, settings.home)
    plan = load(ir, settings.home / "ir")
    parameters = {**defaults(path, plan, settings), **given(args.parameter, args.params, plan)}
    run_id = fresh_id(plan.name, settings, args.run_id)
    triggers = triggers_of(path, plan, settings)
    job = Job(
        plan,
        ir,
        plan.bind(parameters),
        run_id,
        workers=args.workers,
        caching=not args.no_cache,
        retries=triggers.retries,
        budget=triggers.budget,
        parent=json.loads(Path(args.parent).read_bytes()) if args.parent else {},
    )
    return execute(job, settings)


def fresh_id(pipeline: str, settings: Settings, wanted: str | None = None) -> str:
    """Return the id of a run to come: `wanted`, or one of the pipeline's name and the time. Raises InvalidParameter."""
    from fleetml import records
    from fleetml.errors import InvalidParameter

    run_id = wanted or records.fresh_id(pipeline)
    if records.Run(settings.home, run_id).exists():
        raise InvalidParameter(f"a run id is used once, {run_id!r} exists; choose another, or: fleetml resume {run_id}")
    return run_id


def execute(job: Job, settings: Settings) -> int:
    """Run a job with its progress on the terminal; Ctrl-C and SIGTERM stop its steps. Return the exit status."""
    from fleetml.cli.output import complain, progress, say, say_outputs
    from fleetml.engines import local
    from fleetml.records import Run
    from fleetml.step import Failure
    from fleetml.workflow import beforehand

    beforehand.check(job.plan, job.parameters, job.kept, here=settings.runner != "kubernetes")
    failures: list[Failure] = []
    failed = 0
    labels = {name: step.label for name, step in job.plan.steps.items()}
    begun = False
    with _cancelled_by_signals() as cancel, progress(labels) as show:

        def tell(step: str, state: str, attempt: Attempt | None) -> None:
            nonlocal begun, failed
            if not begun:  # one that is refused never is
                say(f"run {job.run_id}")
                begun = True
            show(step, state, attempt)
            if state == "failed" and attempt and attempt.failure:
                failed += 1
                if failed <= _SHOWN:
                    failures.append(Failure(**attempt.failure))

        state = local.run(job, settings, tell, cancel)
    shown = failures if failed <= _SHOWN else failures[:1]
    for failure in shown:
        complain("\n".join(failure.report()))
    if failed > len(shown):
        complain(f"{failed - len(shown):,} more steps failed; see: fleetml status {job.run_id}")
    say_outputs(Run(settings.home, job.run_id).read().get("outputs") or {})
    say(f"run {job.run_id}: {state}")
    if state == "cancelled":
        say(f"go on with: fleetml resume {job.run_id}")
    return {"succeeded": 0, "failed": 1}.get(state, INTERRUPTED)


@contextmanager
def _cancelled_by_signals() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C, SIGTERM and a closed terminal set, instead of ending this process."""
    cancel = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: cancel.set()) for number in signals}
    try:
        yield cancel
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
