"""Workflows run from Python: submitted, awaited, cancelled; the event loop is never blocked."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetml.errors import InvalidParameter, StepFailed
from fleetml.frozen import frozen
from fleetml.settings import Settings
from fleetml.workflow import beforehand, source

if TYPE_CHECKING:
    from fleetml.engines.local import Job
    from fleetml.workflow.spec import Workflow

Document = Mapping[str, Any] | str | Path
"""A workflow as plain values, or the file it stands in."""


class RunFailed(StepFailed):
    """A run ended otherwise than well; `run_id` names it, `state` is failed or cancelled."""

    def __init__(self, run_id: str, state: str, message: str) -> None:
        super().__init__(message)
        self.run_id, self.state = run_id, state


@frozen
class TaskResult:
    """What one task left: output parameters, files of output artifacts, all figures of its metrics."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


@frozen
class RunResult:
    """A run that succeeded; `tasks` by task_id."""

    run_id: str
    tasks: Mapping[str, TaskResult]


class WorkflowRun:
    """A run that goes on in a thread of its own. ``await run`` gives its `RunResult`, or raises RunFailed.

    Cancelling whoever awaits it cancels the run: its steps are stopped before the cancellation goes on.
    """

    def __init__(self, job: Job, settings: Settings, names: Mapping[str, str]) -> None:
        self.run_id = job.run_id
        self._job, self._settings, self._names = job, settings, names
        self._cancel = threading.Event()
        self._done: Future[str] = Future()
        threading.Thread(target=self._run, name=f"run {self.run_id}").start()

    def _run(self) -> None:
        from fleetml.engines import local

        try:
            self._done.set_result(local.run(self._job, self._settings, cancel=self._cancel))
        except BaseException as error:
            self._done.set_exception(error)

    def cancel(self) -> None:
        """Stop the run; awaiting it then raises RunFailed."""
        self._cancel.set()

    def done(self) -> bool:
        """Say whether the run is over."""
        return self._done.done()

    def __await__(self) -> Generator[Any, None, RunResult]:
        return self._wait().__await__()

    async def _wait(self) -> RunResult:
        ended = asyncio.wrap_future(self._done)
        try:
            state = await asyncio.shield(ended)
        except asyncio.CancelledError:
            self.cancel()
            await asyncio.wait([ended])
            raise
        return await asyncio.to_thread(self._result, state)

    def _result(self, state: str) -> RunResult:
        from fleetml.records import Run

        latest = Run(self._settings.home, self.run_id).here()
        if state != "succeeded":
            told = [f"{name}: {each.failure['message']}" for name, each in latest.items() if each.failure]
            said = "; ".join(told) or f"it was {state}"
            again = f"go on with: fleetml resume {self.run_id}"
            raise RunFailed(self.run_id, state, f"run {self.run_id} must succeed, it {state}: {said}; {again}")
        outcomes = {self._names.get(name, name): each.outcome or {} for name, each in latest.items()}
        return RunResult(self.run_id, {name: _task(outcome) for name, outcome in outcomes.items()})


def _task(outcome: Mapping[str, Any]) -> TaskResult:
    artifacts: Mapping[str, Any] = outcome.get("artifacts", {})
    files = {name: items[0]["uri"] for name, items in artifacts.items() if items and name != "metrics"}
    figures = [item.get("metadata", {}) for item in artifacts.get("metrics", [])]
    return TaskResult(outcome.get("parameters", {}), files, figures[0] if figures else {})


async def submit_ml_workflow(
    spec: Document,
    *,
    parameters: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    run_id: str = "",
    workers: int = 0,
    caching: bool = True,
) -> WorkflowRun:
    """Check a workflow, start its run on this machine and return the run; ``await`` that for its result.

    `parameters` replace global parameters; paths of plain values are relative to the working directory.
    Raises InvalidWorkflow, InvalidParameter, ConfigurationError before anything runs.
    """
    workflow, known = await asyncio.to_thread(_checked, spec, settings)
    return await started(workflow, known, parameters or {}, run_id, workers, caching)


async def started(workflow: Workflow, settings: Settings, *given: Any) -> WorkflowRun:
    """Start a run off the event loop; one that starts while its caller is cancelled is cancelled. As `start`."""
    starting = asyncio.ensure_future(asyncio.to_thread(start, workflow, settings, *given))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        (await starting).cancel()
        raise


def _checked(spec: Document, settings: Settings | None) -> tuple[Workflow, Settings]:
    return workflow_of(spec), settings or Settings.from_environment()


def workflow_of(spec: Document) -> Workflow:
    """Return the workflow of plain values or of a file. Raises InvalidWorkflow."""
    from fleetml.workflow.spec import parse

    if isinstance(spec, str | Path):
        return source.read(Path(spec))
    return source.located(parse(spec), Path.cwd())


def start(
    workflow: Workflow,
    settings: Settings,
    parameters: Mapping[str, Any],
    run_id: str = "",
    workers: int = 0,
    caching: bool = True,
) -> WorkflowRun:
    """Start a run. Raises as `submit_ml_workflow`."""
    from fleetml.engines.local import Job
    from fleetml.pipeline import load
    from fleetml.records import Run, fresh_id

    ir = source.keep(workflow, settings.home)
    plan = load(ir, settings.home / "ir")
    bound = plan.bind({**source.installation(plan, settings), **parameters})
    beforehand.check(plan, bound, here=settings.runner != "kubernetes")
    run_id = run_id or fresh_id(plan.name)
    if Run(settings.home, run_id).exists():
        raise InvalidParameter(f"a run id is used once, {run_id!r} exists; choose another")
    job = Job(plan, ir, bound, run_id, workers=workers or os.cpu_count() or 1, caching=caching)
    return WorkflowRun(job, settings, {task.step: task.id for task in workflow.tasks})
