"""Runs a plan on this machine, and writes the truth about it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from fleetml import secrets
from fleetml.engines import record
from fleetml.engines.local.schedule import Schedule, Tell
from fleetml.errors import ConfigurationError, InvalidParameter, Unavailable
from fleetml.frozen import frozen
from fleetml.pipeline import Plan, Step, platform
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
        self._require_means()  # first, so that a run that is refused leaves nothing behind
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
            if schedule.state == "succeeded":
                self.records.update(outputs=schedule.plan.published(self.job.parameters, schedule.outcomes))
            record.end(self.records, schedule.state)
            return schedule.state

    def _require_means(self) -> None:
        """Refuse a run that could not get through: a step whatever happens needs an image, GPUs or a secret that are not
        here, or the artifact store is none.

        What a condition may leave out is told if it comes to that. Raises ConfigurationError, Unavailable.
        """
        if self.context.settings.store:
            from fleetml import artifact_store

            artifact_store.of(self.context.settings).ready()  # type: ignore[union-attr]
        self._require_secrets()
        for name, step in self.plan.steps.items():
            if step.container.image and self._is_certain(step):
                try:
                    self.context.images.resolve(step.container.image)
                except ConfigurationError as error:
                    raise ConfigurationError(f"step '{name}': {error}") from None
                self._require_gpus(step)

    def _is_certain(self, step: Step) -> bool:
        """Say whether a step is run unless one before it fails."""
        tasks = (step, *(self.plan.groups[group] for group in step.group))
        return step.name not in self.job.kept and not any(task.guard for task in tasks)

    def _require_secrets(self) -> None:
        """Refuse secrets that are not here, and two that one variable would hold, as far as their names are known."""
        if getattr(self.runner, "refers_to_secrets", False):
            return
        asked = {name: platform.known_secrets(step, self.job.parameters) for name, step in self.plan.steps.items()}
        secrets.require_distinct(entry for entries in asked.values() for entry in entries)
        for name, entries in asked.items():
            if entries and self._is_certain(self.plan.steps[name]):
                secrets.delivered(entries, self.context.secrets, name)

    def _require_gpus(self, step: Step) -> None:
        resources = step.container.resources
        if resources.accelerator_count.isdecimal() and not hasattr(self.runner, "honours"):  # a cluster has its own
            from fleetml.runners import accelerators

            accelerators.require(resources, f"step '{step.name}'")

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
            "steps": list(self.plan.steps),
            **({"parent": dict(self.job.parent)} if self.job.parent else {}),
        }
        record.begin(self.records, document, self.job.pipeline)
        self.context = replace(self.context, created=self.records.read()["started"])
