"""One attempt of a step, from its inputs to its record."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path
from typing import Any

from fleetml import artifact_store, artifacts, cache, lineage, results_lock, secrets, tracing
from fleetml.errors import FleetMLError, StepFailed, Unavailable
from fleetml.events import Listener, StepEnded, StepLine, StepStarted, ignore
from fleetml.frozen import asdict, field, mutable, replace
from fleetml.images import Image
from fleetml.pauses import Pausing, finish
from fleetml.pipeline import Inputs, Step
from fleetml.records import Attempt, Run
from fleetml.redaction import SHORTEST, Redactor
from fleetml.runners import ContainerRunner, Exit, Runner
from fleetml.step import importer
from fleetml.step.failure import Failure, ended_words, of_process, shown_inputs
from fleetml.step.outcome import RunContext, StepOutcome
from fleetml.step.spending import Spending

_HERE = ("none", "memory", "disk")  # kinds of caches that ask no server


def run(
    step: Step,
    inputs: Inputs,
    context: RunContext,
    runner: Runner,
    notify: Listener = ignore,
    cancel: threading.Event | None = None,
) -> StepOutcome:
    """Run one attempt of `step` and return how it ended, as `stages` does."""
    return finish(stages(step, inputs, context, runner, notify, cancel))


def stages(
    step: Step,
    inputs: Inputs,
    context: RunContext,
    runner: Runner,
    notify: Listener = ignore,
    cancel: threading.Event | None = None,
) -> Pausing[StepOutcome]:
    """Run one attempt of `step` and return how it ended; a failed step is a returned outcome, not an exception.

    Pauses before what may take long, so not at all where the step is a hit that has little to hash.
    `inputs` are `Plan.resolve`'s. The attempt's record and log are written under the run's folder whatever happens.
    Setting `cancel` stops the step and its children. Raises Unavailable only where not even the record can be written.
    """
    records = Run(context.settings.home, context.run_id)
    try:
        with results_lock.shared(context.settings.home) as share:
            number, log = records.begin(step.name)
            lineage.step_started(records, context.pipeline, step, inputs, number)
            cancel = cancel or threading.Event()
            attempt = _Attempt(step, inputs, context, runner, notify, cancel, records, number, log, share)
            outcome = yield from attempt.run()
            ended = attempt.record(outcome)
            records.write(ended)
            if not outcome.cached:
                attempt.spending.warn()
    except OSError as error:
        raise Unavailable(
            f"a run's records must be writable, {records.folder} is not: {error.strerror or error}; "
            "free the disk and resume"
        ) from error
    lineage.step_ended(records, context.pipeline, step, inputs, ended)
    tracing.step_ended(records, ended)
    notify(StepEnded(step.name, outcome))
    return outcome


@mutable
class _Attempt:
    """The state of one attempt while it goes on."""

    step: Step
    inputs: Inputs
    context: RunContext
    runner: Runner
    notify: Listener
    cancel: threading.Event
    records: Run
    number: int
    log: Path
    share: results_lock.Shared
    started: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)  # the same moment, of a clock that nobody sets
    key: cache.Key | None = None
    result: str = ""  # the folder under results/, while it is being made too: so the collector leaves that alone
    exit: Exit = field(default_factory=lambda: Exit(0))
    redactor: Redactor = field(default_factory=Redactor)
    spending: Spending = field(init=False)

    def __post_init__(self) -> None:
        self.spending = Spending(self.context, self.records, self.started, self._say)

    def run(self) -> Pausing[StepOutcome]:
        """Return the outcome; whatever goes wrong is a failed one."""
        try:
            if self.step.importer:
                yield
                made = importer.imported(self.step.importer, self.step, self.inputs, self.context)
                return self._ended("succeeded", artifacts=made)
            with self.share.let_go():  # an environment may have to be made first
                image = self.context.images.resolve(self.step.container.image)
            self.key = cache.key(self.step, self.inputs, image)
            hit = yield from self._find()
            if hit:
                self.result, found = hit
                outcome = self._ended("succeeded", cached=True, parameters=found.parameters, artifacts=found.artifacts)
            else:
                yield
                self.spending.require_budget()
                outcome = self._execute(image)
        except FleetMLError as error:
            outcome = self._failed(type(error).__name__, str(error), user_error=True)
        except OSError as error:
            outcome = self._failed("Unavailable", _system_error(error), user_error=True)
        except Exception as error:  # a mistake of ours is a failed step, never a step without a state
            outcome = self._failed(type(error).__name__, f"{error} (an internal error of FleetML, see the log)")
            import traceback

            with self.log.open("a", encoding="utf-8") as stream:
                stream.write(self.redactor.text(traceback.format_exc()))
        return outcome

    def _find(self) -> Pausing[tuple[str, cache.Result] | None]:
        """Return what was computed before, if it may be reused."""
        settings = self.context.settings
        if self.key is None or not self.context.caching:
            return None
        if settings.store or settings.cache.kind not in _HERE:
            yield
        store, remote = cache.store_of(settings), artifact_store.of(settings)
        return (yield from cache.find(store, settings.home, self.key, self._say, remote))

    def _execute(self, image: Image) -> StepOutcome:
        from fleetml.step import exchange  # here, as a hit has neither command nor log
        from fleetml.step.command import command as command_of
        from fleetml.step.log import Log

        folder = artifacts.ResultFolder.create(self.context.settings.home / "results", self.step.name)
        self.result = folder.final.name
        try:
            exchange.prepare(self.step, folder.aside)
            here = replace(self, inputs=artifact_store.local_inputs(self.context.settings, self.inputs))
            here._require_inputs("are what their steps left")
            names = self.context.names(self.step.name)
            command = command_of(self.step, here.inputs, names, image, folder.aside, self.records)
            command = replace(command, secrets=self._secrets())
            self.spending.ask()
            self.records.write(self.running())
            self.notify(StepStarted(self.step.name, self.number, self.log))
            with self.log.open("a", encoding="utf-8", buffering=1) as stream:
                log = Log(stream, lambda line: self.notify(StepLine(self.step.name, line)))
                lines = self.redactor.lines(log)
                try:
                    with self.share.let_go():
                        self.exit = self.runner.run(command, lines, self.cancel)
                finally:
                    lines.end()
                    log.end()
            if self.exit.ended == "cancelled":
                return self._ended("cancelled")
            if not self.exit.succeeded:
                return self._failed(**of_process(folder.aside, self.log, ended_words(self.exit, command.limits)))
            here._require_inputs("can only be read")
            return self._keep(folder)
        finally:
            folder.discard()

    def _require_inputs(self, rule: str) -> None:
        """Raise StepFailed for an input that was changed: a result of it would be kept as one of what it was."""
        results = self.context.settings.home / "results"
        for name, items in self.inputs.artifacts.items():
            for item in items:
                if artifacts.changed(item, results):
                    raise StepFailed(
                        f"artifacts {rule}, input artifact '{name}' of step '{self.step.name}' ({item['uri']}) was "
                        "changed or removed; let steps change a copy, and resume: it is made anew"
                    )

    def _secrets(self) -> dict[str, str]:
        """Return the secrets of the step's environment, and hide them from now on. Raises ConfigurationError."""
        asked, elsewhere = self.inputs.platform.get("secretAsEnv", ()), getattr(self.runner, "refers_to_secrets", False)
        if elsewhere:  # what is known here as well is hidden all the same
            asked = [{**entry, "optional": True} for entry in asked]
        found = secrets.delivered(asked, self.context.secrets, self.step.name)
        credentials = secrets.credentials(self.context.settings.step_variables)
        self.redactor = Redactor([*found.values(), *credentials], secrets.names(asked, found))
        for name in secrets.too_short(asked, found):
            self._say(
                f"{name} holds a secret of fewer than {SHORTEST} characters, which is not hidden; take a longer one"
            )
        return {} if elsewhere else found

    def _say(self, line: str) -> None:
        """Put a line of ours into the step's log."""
        told = self.redactor.text(f"fleetml: {line}")
        with self.log.open("a", encoding="utf-8") as stream:
            stream.write(f"{told}\n")
        self.notify(StepLine(self.step.name, told))

    def _keep(self, folder: artifacts.ResultFolder) -> StepOutcome:
        """Check and hash what the step made, publish it, and let the cache point at it."""
        from fleetml.step import exchange

        try:
            here = not isinstance(self.runner, ContainerRunner)
            parameters, made = exchange.read_outputs(self.step, folder.aside, here)
        except StepFailed:  # its message may quote a part of a secret, which nothing would hide
            exchange.refuse_secrets(self.step, folder.aside, {}, {}, self.redactor)
            raise
        exchange.refuse_secrets(self.step, folder.aside, parameters, made, self.redactor)
        told = folder.relocated({"parameters": parameters, "artifacts": made})
        if remote := artifact_store.of(self.context.settings):
            told = remote.told(told)
        result = cache.Result(**told, usage=asdict(self.exit.usage))
        cache.write_result(folder.aside, result)
        if remote:
            remote.publish(folder.aside, folder.final.name)
        folder.publish()
        if self.key and result.storable:
            store, context = cache.store_of(self.context.settings), self.context
            cache.keep(store, self.key, folder.final, self.step.name, context.pipeline, context.run_id, self._say)
        return self._ended("succeeded", parameters=result.parameters, artifacts=result.artifacts)

    def _failed(self, type: str, message: str, **known: Any) -> StepOutcome:
        uris = {name: ", ".join(item["uri"] for item in items) for name, items in self.inputs.artifacts.items()}
        told = {"message": message, "inputs": shown_inputs({**self.inputs.parameters, **uris}), **known}
        failure = Failure(
            step=self.step.name,
            type=type,
            log=str(self.log),
            resume=self.context.resume,
            **self.redactor.value(told),
        )
        return replace(self._ended("failed"), failure=failure)

    def _ended(self, state: Any, **known: Any) -> StepOutcome:
        seconds, cost = time.monotonic() - self.began, asdict(self.spending.cost(self.exit.usage))
        return StepOutcome(state, usage=self.exit.usage, cost=cost, seconds=seconds, attempt=self.number, **known)

    def running(self) -> Attempt:
        """The record while the command runs; what stays of it when the engine dies."""
        return Attempt(
            step=self.step.name,
            number=self.number,
            state="running",
            started=self.started,
            result=self.result,
            key=self.key.digest if self.key else "",
            parts=self.key.parts if self.key else None,
            inputs=self.redactor.value(
                {
                    "parameters": self.inputs.parameters,
                    "artifacts": {
                        name: [item["uri"] for item in found] for name, found in self.inputs.artifacts.items()
                    },
                }
            ),
        )

    def record(self, outcome: StepOutcome) -> Attempt:
        """The record at the end."""
        return replace(
            self.running(),
            state=outcome.state,
            finished=self.started + outcome.seconds,
            outcome=outcome.to_json(),
            failure=asdict(outcome.failure) if outcome.failure else None,
            usage=asdict(outcome.usage),
            cost=outcome.cost,
            figures=outcome.figures,
            result=self.result if outcome.state == "succeeded" else "",
        )


def _system_error(error: OSError) -> str:
    place = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"a step needs room for outputs and log, the disk says: {error.strerror}{place}; free some and resume"
    return (
        f"a step needs its folders and files, the system says: {error.strerror or error}{place}; mend that and resume"
    )
