"""The records of one run, and of all runs."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from fleetml import atomic, lockfile
from fleetml.cost.estimate import total
from fleetml.errors import ConfigurationError, InvalidParameter
from fleetml.frozen import replace
from fleetml.records.attempt import Attempt
from fleetml.records.document import read_run
from fleetml.records.lock import is_taken, take
from fleetml.redaction import mapped, without_passwords

_OF_A_STORE = r"[a-z][a-z0-9+.-]*://[^\"]*?/([\w.-]+-[0-9a-f]{16})/"
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,199}\Z")


class Run:
    """The records of one run. Any number of processes may write attempts of different steps at once.

    Raises InvalidParameter for a run id that is no file name.
    """

    def __init__(self, home: Path, run_id: str) -> None:
        if not _RUN_ID.match(run_id):
            raise InvalidParameter(
                f"a run id is letters, digits and any of _.:+- (at most 200), got '{run_id}'; choose another --run-id"
            )
        self.run_id = run_id
        self.folder = home / "runs" / run_id
        self._stop = str(self.folder / ".stop")  # looked for twice a step

    def start(self, document: Mapping[str, Any], pipeline: Path | None = None) -> None:
        """Write run.json, state "running", and a copy of the IR at `pipeline` (`engines.record.begin`). Raises OSError.

        A run that exists (a resumed one) keeps when it was started and whatever else its engine noted. Raises
        ConfigurationError when it should exist and does not.
        """
        if pipeline == self.pipeline and not self.exists():
            raise self._removed()
        Path(self._stop).unlink(missing_ok=True)
        before = self.read() if self.exists() else {"started": time.time()}
        if pipeline is not None and pipeline != self.pipeline:
            atomic.write_text(self.pipeline, pipeline.read_text(encoding="utf-8"))
        now = {"run_id": self.run_id, "state": "running", "finished": None, "pid": os.getpid()}
        atomic.write_json(self.folder / "run.json", {**before, **document, **now})

    def ask_to_stop(self) -> None:
        """Ask the engine that runs it to stop it; asked before it began, it does not hear."""
        Path(self._stop).touch()

    def stop_asked(self) -> bool:
        """Say whether somebody wants the run to stop."""
        return os.path.exists(self._stop)  # noqa: PTH110

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the run for this process while the context lasts; the system gives it back however the process ends.

        Raises ConfigurationError when another process has it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with lockfile.opened(self.lock) as lock:
            if not take(lock):
                raise ConfigurationError(
                    f"a run belongs to one process, another one runs {self.run_id}; "
                    f"wait for it, or: fleetml stop {self.run_id}"
                )
            if not self.lock.exists() or not os.path.samestat(os.fstat(lock), self.lock.stat()):
                raise self._removed()
            yield

    def abandoned(self) -> bool:
        """Say whether the record claims that the run is running, but the process that ran it is gone."""
        # Without a lock it is run by an engine that is many processes, which only it can tell.
        return self.read()["state"] == "running" and self.lock.exists() and not self.held_by_another()

    def held_by_another(self) -> bool:
        """Say whether a process has the run."""
        return is_taken(self.lock)

    def state(self) -> str:
        """Return how the run stands: its record's state, or "died" where it claims to be running and is not."""
        return "died" if self.abandoned() else str(self.read()["state"])

    def _removed(self) -> ConfigurationError:
        return ConfigurationError(f"run {self.run_id} was removed meanwhile (fleetml gc); start a new one")

    def finish(self, state: str, **entries: Any) -> dict[str, list[Attempt]]:
        """Write the final state, the sums of all attempts' cost and further entries (`engines.record.end`).

        Returns the attempts by step.
        """
        known = {step: self.attempts(step) for step in self.read().get("steps", [])}
        costs = [attempt.cost for attempts in known.values() for attempt in attempts if attempt.cost]
        self.update(state=state, finished=time.time(), cost=total(costs), **entries)
        return known

    def update(self, **entries: Any) -> None:
        """Replace entries of run.json; only the engine that started the run does so, which may be several processes."""
        with self._changing() as document:
            document.update(entries)

    def reopen(self) -> bool:
        """Make a run that ended a running one again, and say whether it is such a one."""
        with self._changing() as document:
            if document["state"] != "running":
                document.update(state="running", finished=None, reopened=True)
            return bool(document.get("reopened"))

    def unfold(self, loop: str, steps: Iterable[str]) -> None:
        """Put the steps of a loop's iterations in its place; several processes may do so with different loops."""
        with self._changing() as document:
            known: list[str] = document["steps"]
            inside = [name == loop or name.startswith(f"{loop}/") for name in known]
            place = inside.index(True) if True in inside else len(known)
            others = [name for name, gone in zip(known, inside, strict=True) if not gone]
            document["steps"] = [*others[:place], *steps, *others[place:]]

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """Yield run.json, and write what became of it; who else would change it waits. Raises as `read` does, OSError."""
        self.read()  # of a run that is not there no lock is made
        with lockfile.held(self.folder / ".json.lock"):
            before = self.read()
            document = {**before}
            yield document
            if document != before:
                atomic.write_json(self.folder / "run.json", document)

    def exists(self) -> bool:
        return (self.folder / "run.json").is_file()

    def read(self) -> dict[str, Any]:
        """Return run.json. Raises ConfigurationError when there is no such run or the file is damaged."""
        try:
            return read_run(self.folder / "run.json")
        except FileNotFoundError:
            raise ConfigurationError(
                f"no run '{self.run_id}' in {self.folder.parent}; `fleetml ls` lists them"
            ) from None
        except ValueError as error:
            raise ConfigurationError(f"{self.folder / 'run.json'} is damaged: {error}; start a new run") from None

    @property
    def lock(self) -> Path:
        """The file that the process which runs this run holds locked."""
        return self.folder / ".lock"

    @property
    def pipeline(self) -> Path:
        """The IR that this run runs."""
        return self.folder / "pipeline.yaml"

    @property
    def workspace(self) -> Path:
        """The folder that the run's steps share."""
        return self.folder / "workspace"

    def step_folder(self, step: str) -> Path:
        """Raises InvalidParameter for a name that would leave the run's folder."""
        parts = PurePosixPath(step).parts
        if not parts or step.startswith("/") or ".." in parts:
            raise InvalidParameter(f"a step's name is a path inside its run, got '{step}'")
        return self.folder.joinpath("steps", *parts)

    def begin(self, step: str) -> tuple[int, Path]:
        """Claim the next attempt of a step: its number, and its (empty) log file. Raises OSError."""
        folder = self.step_folder(step)
        folder.mkdir(parents=True, exist_ok=True)
        number = len(_numbers(folder, "log")) + 1
        while True:
            log = folder / f"attempt-{number}.log"
            try:
                log.open("x").close()
            except FileExistsError:
                number += 1
            else:
                return number, log

    def write(self, attempt: Attempt) -> Path:
        """Write an attempt's record and return its place. Raises OSError."""
        place = self.step_folder(attempt.step) / f"attempt-{attempt.number}.json"
        atomic.write_json(place, vars(attempt))
        return place

    def note(self, step: str, state: str, reason: str) -> Attempt:
        """Record why an engine did not run a step: "skipped", "upstream_failed", or "failed" before it began."""
        number, _ = self.begin(step)
        now, reason = time.time(), without_passwords(reason)
        outcome = {"state": state, "cached": False, "parameters": {}, "artifacts": {}}
        failure = {"step": step, "type": "", "message": reason, "user_error": True} if state == "failed" else None
        attempt = Attempt(step, number, state, now, now, reason, outcome, failure)
        self.write(attempt)
        return attempt

    def attempts(self, step: str) -> list[Attempt]:
        """All recorded attempts of a step, oldest first."""
        folder = self.step_folder(step)
        return [Attempt.read(folder / f"attempt-{number}.json") for number in _numbers(folder, "json")]

    def attempt(self, step: str, number: int) -> Attempt:
        """One recorded attempt of a step. Raises FileNotFoundError when there is none."""
        return Attempt.read(self.step_folder(step) / f"attempt-{number}.json")

    def latest(self) -> dict[str, Attempt]:
        """The last attempt of each step that has one, in the order of the run's steps."""
        found = {step: self.attempts(step) for step in self.read().get("steps", [])}
        return {step: attempts[-1] for step, attempts in found.items() if attempts}

    def here(self) -> dict[str, Attempt]:
        """Return `latest` with paths on this machine instead of an artifact store's URIs, where a copy is here."""
        results = self.folder.parents[1] / "results"

        def path(found: re.Match[str]) -> str:
            place = results / found[1]
            return f"{place}/" if place.is_dir() else found[0]

        def moved(attempt: Attempt) -> Attempt:
            return replace(attempt, outcome=mapped(attempt.outcome, lambda text: re.sub(_OF_A_STORE, path, text)))

        return {step: moved(attempt) for step, attempt in self.latest().items()}

    def log(self, step: str, number: int | None = None) -> Path | None:
        """The log of one attempt, of the last one by default; None when there is none."""
        folder = self.step_folder(step)
        numbers = _numbers(folder, "log")
        wanted = number or (numbers[-1] if numbers else 0)
        return folder / f"attempt-{wanted}.log" if wanted in numbers else None


def fresh_id(name: str) -> str:
    """Return an id for a run of what is called `name`: that, the time, and four letters."""
    return f"{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(2).hex()}"


def runs(home: Path) -> Iterator[dict[str, Any]]:
    """Yield the run.json of every run, latest start first; damaged ones are left out."""
    found = []
    for path in (home / "runs").glob("*/run.json"):
        try:
            found.append(read_run(path))
        except (OSError, ValueError):
            continue
    yield from sorted(found, key=lambda run: run.get("started", 0), reverse=True)


def _numbers(folder: Path, suffix: str) -> list[int]:
    try:
        found = [re.fullmatch(rf"attempt-(\d+)\.{suffix}", entry.name) for entry in os.scandir(folder)]
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for match in found if match)
