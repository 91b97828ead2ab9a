"""``fleetml run PIPELINE -p name=value``: a pipeline on this machine."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pipeline, with what, how."""
    parser.add_argument("pipeline", help="an IR file, or a folder with a pipeline.yaml")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="repeat as needed")
    parser.add_argument("--params", metavar="FILE", help="parameters as YAML or JSON")
    parser.add_argument("--run-id", help="default: the pipeline's name and the time")
    parser.add_argument("--no-cache", action="store_true", help="run every step anew; its results are still kept")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="steps at once (default: cores)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run it; return 0 if every step succeeded or was skipped, 1 if one failed, 130 if interrupted."""
    from fleetml.cli.pipelines import given, pipeline_file, triggers_of
    from fleetml.engines.local import Job
    from fleetml.errors import InvalidParameter
    from fleetml.pipeline import load
    from fleetml.records import Run

    path = pipeline_file(args.pipeline)
    plan = load(path, settings.home / "ir")
    parameters = {**triggers_of(path, plan, settings).defaults, **given(args.parameter, args.params, plan)}
    run_id = args.run_id or f"{plan.name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
    if Run(settings.home, run_id).exists():
        raise InvalidParameter(f"a run id is used once, {run_id!r} exists; choose another, or: fleetml resume {run_id}")
    job = Job(plan, path, plan.bind(parameters), run_id, workers=args.workers, caching=not args.no_cache)
    return execute(job, settings)


def execute(job: Any, settings: Settings) -> int:
    """Run a job with its progress on the terminal; Ctrl-C and SIGTERM stop its steps. Return the exit status."""
    from fleetml.engines import local
    from fleetml.step import Failure

    cancel = threading.Event()
    before = {sig: signal.signal(sig, lambda *_: cancel.set()) for sig in (signal.SIGINT, signal.SIGTERM)}
    failures: list[Failure] = []

    def keep(step: str, state: str, attempt: Any) -> None:
        if state == "failed" and attempt and attempt.failure:
            failures.append(Failure(**attempt.failure))

    try:
        with _progress(job) as tell:
            state = local.run(job, settings, lambda *told: (tell(*told), keep(*told)) and None, cancel)
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)
    for failure in failures:
        _say("\n".join(failure.report()), sys.stderr)
    _say(f"run {job.run_id}: {state}")
    if state == "cancelled":
        _say(f"go on with: fleetml resume {job.run_id}")
    return {"succeeded": 0, "failed": 1}.get(state, 130)


class _Lines:
    """A line per change, for a pipe; standard library only, so that a run of cache hits stays short."""

    def __init__(self, job: Any) -> None:
        self.began = time.monotonic()
        self.width = max(map(len, job.plan.steps), default=0)

    def __enter__(self) -> Callable[..., None]:
        return self.tell

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def tell(self, step: str, state: str, attempt: Any) -> None:
        state = "cached" if attempt and attempt.cached else state
        figures = (
            ", ".join(f"{name} {_short(value)}" for name, value in (attempt.figures or {}).items()) if attempt else ""
        )
        taken = f"{attempt.seconds:.1f} s" if attempt and state != "skipped" else ""
        note = figures or (attempt.reason if attempt else "")
        _say(f"{time.monotonic() - self.began:6.1f} s  {step:<{self.width}}  {state:<15} {taken:>8}  {note}".rstrip())


def _progress(job: Any) -> Any:
    if not sys.stdout.isatty():
        return _Lines(job)
    from fleetml.report.live import live

    return live({name: step.label for name, step in job.plan.steps.items()})


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _say(text: str, stream: Any = None) -> None:
    print(text, file=stream or sys.stdout, flush=True)  # noqa: T201
