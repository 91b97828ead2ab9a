"""Runs a plan on this machine, and writes the truth about it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml.cost.budget import Budget
from fleetml.engines import means, record
from fleetml.engines.local.schedule import Schedule, Tell
from fleetml.errors import ConfigurationError, InvalidParameter, Unavailable
from fleetml.frozen import field, frozen, replace
from fleetml.pipeline import Plan
from fleetml.records import Run
from fleetml.runners import Runner, choice
from fleetml.settings import Settings
from fleetml.step import RunContext


@frozen
class Job:
    """One run to do: `parameters` are bound, `kept` are outcomes of an earlier attempt at this run (`resumed`).

    `retries` are those of steps that state none. `parent`: the run and the step that started this one (docs/adr/0006).
    """

    plan: Plan
    pipeline: Path
    parameters: Mapping[str, Any]
    run_id: str
    kept: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    workers: int = 4
    caching: bool = True
    retries: int = 0
    resumed: bool = False
    parent: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget | None = None


def run(
    job: Job,
    settings: Settings,
    tell: Tell = lambda step, state, attempt: None,
    cancel: threading.Event | None = None,
    runner: Runner | None = None,
) -> str:
    """Run a job to its end; return "succeeded", "failed" or "cancelled". Everything is in the run's record.

    Setting `cancel` stops the steps that run and starts no other. Raises Unavailable when no record can be written,
    ConfigurationError when another process runs this run, InvalidParameter when there is one of this id already,
    UnsupportedConstruct when a step asks for what the runner does not give.
    """
    runner = runner or choice.choose(settings)
    choice.require(job.plan, settings, runner)
    return _Engine(job, settings, tell, cancel or threading.Event(), runner).run()


class _Engine:
    """One run while it goes on."""

    def __init__(self, job: Job, settings: Settings, tell: Tell, cancel: threading.Event, runner: Runner) -> None:
        self.job, self.plan, self.tell, self.cancel, self.runner = job, job.plan, tell, cancel, runner
        self.records = Run(settings.home, job.run_id)
        self.begun = False
        self.context = RunContext(
            run_id=job.run_id,
            pipeline=job.plan.name,
            settings=settings,
            images=choice.images(settings, runner),
            created=time.time(),
            caching=job.caching,
            resume=f"fleetml resume {job.run_id}",
            budget=job.budget,
        )

    def run(self) -> str:
        try:
            return self._run()
        except (OSError, ConfigurationError) as error:
            if not self.begun and isinstance(error, OSError):
                raise Unavailable(
                    f"a run's records must be writable, {self.records.folder} is not: {error.strerror or error}; "
                    "free the disk, mend its permissions, or set FLEETML_HOME to another folder"
                ) from error
            if not self.begun or self.records.exists():
                raise
            raise Unavailable(
                f"the records of a run stay until its end, {self.records.folder} was removed while it ran; "
                "see what removes it (a step?), and start the run again: what it computed is in the cache"
            ) from error

    def _run(self) -> str:
        means.require(  # first, so that a run that is refused leaves nothing behind
            self.plan,
            self.job.parameters,
            self.context.settings,
            self.runner,
            self.context.images,
            self.context.secrets,
            self.job.kept,
        )
        with self.records.held():
            self._begin()
            self.begun = True
            schedule = Schedule(
                self.plan,
                self.job.parameters,
                dict(self.job.kept),
                self.context,
                self.runner,
                self.cancel,
                self.tell,
                retries=self.job.retries,
            )
            try:
                schedule.run(self.job.workers)
            except BaseException:
                # The record tells the truth even of our own mistakes, as far as it can still be written.
                with contextlib.suppress(OSError, ConfigurationError):
                    record.end(self.records, "failed")
                raise
            made: dict[str, Any] = {}
            if schedule.state == "succeeded":
                made["outputs"] = schedule.plan.published(self.job.parameters, schedule.outcomes)
            record.end(self.records, schedule.state, **made)
            return schedule.state

    def _begin(self) -> None:
        if self.records.exists() and not self.job.resumed:
            raise InvalidParameter(
                f"a run id is used once, {self.job.run_id!r} exists; "
                f"choose another, or: fleetml resume {self.job.run_id}"
            )
        document = {
            "pipeline": self.plan.name,
            "digest": self.plan.digest,
            "engine": "local",
            "runner": self.context.settings.runner,
            "parameters": dict(self.job.parameters),
            "caching": self.job.caching,
            "retries": self.job.retries,
            **record.of_budget(self.job.budget),
            "steps": list(self.plan.steps),
            **({"parent": dict(self.job.parent)} if self.job.parent else {}),
        }
        record.begin(self.records, document, self.job.pipeline)
        self.context = replace(self.context, created=self.records.read()["started"])
