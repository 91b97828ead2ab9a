"""Garbage collection: what is old and needed by nobody goes; what is needed is found by following what is kept.

A run is kept while it is young, among the last of its pipeline, running, or the origin of a registered model. Kept
runs keep the results that their records name; young cache entries keep theirs; models that are registered or
deployed keep every result with the bytes they were made of. Unfinished results stay while their run runs.
Steps may go on meanwhile (`fleetml.results_lock`). What lies in an artifact store that machines share is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetml import atomic, cache, results_lock
from fleetml.cache.stores import Entry
from fleetml.errors import ConfigurationError
from fleetml.frozen import frozen
from fleetml.records import Run, runs
from fleetml.serving import deployment
from fleetml.settings import Settings

_RESULT = re.compile(r"[A-Za-z0-9_.-]+-[0-9a-f]{16}(?![0-9a-f])")
_TRASH = ".trash"
_WRITING = 3600.0  # s after which what is not finished never will be


@frozen
class Needed:
    """What must stay whatever its age: ids of runs, SHA-256 digests of artifacts, and texts that may name results.

    `active` are the (DAG id, run id) that Airflow runs; None: nobody knows.
    """

    runs: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()
    active: frozenset[tuple[str, str]] | None = None


@frozen
class Garbage:
    """One thing nobody needs: a "run", "result", "unfinished result", "cache entry" or "leftover" of `bytes` bytes."""

    kind: str
    name: str
    bytes: int


@dataclass
class Collection:
    """What was found (`garbage`), and how many runs stay only because a registered model comes from them."""

    garbage: list[Garbage] = field(default_factory=list)
    kept_for_models: int = 0


def needed(settings: Settings) -> Needed:
    """Ask the registry, the serving folder and the stack's Airflow.

    Raises Unavailable or ConfigurationError where one of them cannot be asked.
    """
    from fleetml.serving.registry import Registry
    from fleetml.stack import runs as stack_runs
    from fleetml.stack import state

    try:
        tags = Registry(settings.registry).tags()
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"what the registry needs must be known before anything is removed, {error.name} is not installed here; "
            "run the command of the ML environment: .venv/ml/bin/fleetml gc"
        ) from None
    cards = list(settings.serving_dir.glob(f"models/*/*/{deployment.CARD}"))
    deployed = [card.sha256 for place in cards if (card := deployment.card(place))]
    registered = [value for known in tags for name, value in known.items() if name.endswith("_sha256")]
    stack = state.read(settings.home)
    alive = stack is not None and "airflow" in stack.services and "airflow" not in stack.dead
    return Needed(
        runs=frozenset(known["fleetml.run_id"] for known in tags if "fleetml.run_id" in known),
        digests=frozenset([*deployed, *registered]),
        texts=(*(card.read_text(encoding="utf-8") for card in cards), *(json.dumps(known) for known in tags)),
        active=frozenset(stack_runs.connect(stack).active()) if stack and alive else None,
    )


def collect(
    settings: Settings, needed: Needed, older_than: float, keep_last: int = 0, dry_run: bool = False
) -> Collection:
    """Remove what is older than `older_than` seconds and needed by nobody; with `dry_run` only find it.

    `keep_last` runs of each pipeline stay in any case. Raises OSError.
    """
    trash = settings.home / _TRASH / os.urandom(8).hex()
    with ExitStack() as held, results_lock.alone(settings.home):
        found = _Search(settings, needed, time.time() - older_than, keep_last)
        found.run(held)
        sizes = [Garbage(kind, place.name, _size(place)) for kind, place in found.doomed]
        if not dry_run:
            trash.mkdir(parents=True)
            for number, (_, place) in enumerate(found.doomed):
                with contextlib.suppress(FileNotFoundError):  # its writer was still alive
                    place.rename(trash / f"{number}")
            for key in found.entries:
                found.store.remove(key)
    if not dry_run:
        shutil.rmtree(settings.home / _TRASH)  # what an interrupted collection left goes too
    entries = [Garbage("cache entry", key, 0) for key in found.entries]
    return Collection([*sizes, *entries], found.kept_for_models)


class _Search:
    """Finds what is garbage, while nobody else is at the results."""

    def __init__(self, settings: Settings, needed: Needed, before: float, keep_last: int) -> None:
        self.home, self.needed, self.before, self.keep_last = settings.home, needed, before, keep_last
        self._begun = min(before, time.time() - _WRITING)  # what has no record yet may be one that just begins
        self.ttl = settings.cache.ttl
        self.store = cache.store_of(settings)
        self.doomed: list[tuple[str, Path]] = []
        self.entries: list[str] = []
        self.kept_for_models = 0
        self._results = {place.name: place for place in _listed(self.home / "results")}
        self._used: set[str] = set()
        self._readable: set[str] = set()
        self._busy = False

    def run(self, held: ExitStack) -> None:
        """Find it all; the locks of doomed runs are kept in `held`."""
        self._find_runs(held)
        for text in self.needed.texts:
            self._use(text)
        self._find_entries()
        self._find_results()
        self._find_leftovers()

    def _find_runs(self, held: ExitStack) -> None:
        seen: Counter[str] = Counter()
        known = {}
        for document in runs(self.home):
            known[document["run_id"]] = document
            seen[document["pipeline"]] += 1
            self._sort_run(document, seen[document["pipeline"]] <= self.keep_last, held)
        for place in _listed(self.home / "runs"):
            torn = place.name not in known and _changed(place) < self._begun
            if torn and place.name not in self.needed.runs:
                self._doom_run(Run(self.home, place.name), held)

    def _sort_run(self, document: Mapping[str, Any], is_last: bool, held: ExitStack) -> None:
        records = Run(self.home, document["run_id"])
        running = self._running(records, document)
        old = not is_last and not running and _last_change(records) < self.before
        needed = records.run_id in self.needed.runs
        self.kept_for_models += old and needed
        if old and not needed and self._doom_run(records, held):
            return
        self._busy |= running
        for place in _files(records):  # of the run's workspace, whatever it is called, nothing is a record
            with contextlib.suppress(ValueError):  # it is no file, so it names nothing
                self._use(atomic.read_bytes(place).decode(errors="replace"), unfinished=running)

    def _running(self, records: Run, document: Mapping[str, Any]) -> bool:
        if document["engine"] == "airflow" and document["state"] == "running":
            active = self.needed.active
            return active is None or (document["dag_id"], document["dag_run_id"]) in active
        return records.lock.exists() and records.held_by_another()

    def _doom_run(self, records: Run, held: ExitStack) -> bool:
        if records.lock.exists():
            try:
                held.enter_context(records.held())
            except ConfigurationError:  # somebody goes on with it at this very moment
                return False
        self.doomed.append(("run", records.folder))
        return True

    def _use(self, text: str, unfinished: bool = False) -> None:
        """Keep the results that a text names, those too that are being made where `unfinished`."""
        for name in _RESULT.findall(text):
            self._used.add(name)
            if unfinished:
                self._used.add(f".{name}.partial")

    def _find_entries(self) -> None:
        old: list[tuple[str, Entry]] = []
        for key, entry in self.store.entries():
            self._readable.add(key)
            if entry.created < self.before or entry.expired(self.ttl):
                old.append((key, entry))
            else:
                self._used.add(entry.result)
        self.entries = [key for key, entry in old if entry.result not in self._used]

    def _find_results(self) -> None:
        for name, place in self._results.items():
            if name in self._used:
                continue
            if name.endswith(".partial"):
                self.doomed.append(("unfinished result", place))
            elif _changed(place) < self.before and not self._is_of_a_model(place):
                self.doomed.append(("result", place))

    def _is_of_a_model(self, result: Path) -> bool:
        """Say whether one of its artifacts is what a registered or deployed model was made of, or the model itself."""
        if not self.needed.digests:
            return False
        try:
            made = json.loads(atomic.read_bytes(result / "result.json"))["artifacts"]
            return any(item["digest"] in self.needed.digests for items in made.values() for item in items)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _find_leftovers(self) -> None:
        """Files of writers that were killed, damaged entries, forms of pipelines that can be made again, copies of imported artifacts."""
        for place in _listed(self.home / "cache"):
            if place.stem not in self._readable and _changed(place) < time.time() - _WRITING:
                self.doomed.append(("leftover", place))
        for folder in ("ir", "imported"):
            for place in _listed(self.home / folder):
                before = self._begun if place.name.startswith(".") else self.before
                if _changed(place) < before and not self._busy:
                    self.doomed.append(("leftover", place))


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _changed(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except OSError:
        return time.time()


def _last_change(records: Run) -> float:
    """When the run's record was written last, or that of one of its steps, where it never ended."""
    return max(map(_changed, _files(records)))


def _files(records: Run) -> list[Path]:
    return [records.folder / "run.json", *(records.folder / "steps").rglob("attempt-*.json")]


def _size(place: Path) -> int:
    return sum(_sizes(place)) if place.is_dir() and not place.is_symlink() else _file_size(place)


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, files in os.walk(folder):
        yield from (_file_size(Path(parent, file)) for file in files)


def _file_size(place: Path) -> int:
    with contextlib.suppress(OSError):
        return place.lstat().st_size
    return 0


def totals(garbage: Iterable[Garbage]) -> dict[str, tuple[int, int]]:
    """Return how many of each kind there are, and their bytes."""
    found: dict[str, tuple[int, int]] = {}
    for item in garbage:
        number, size = found.get(item.kind, (0, 0))
        found[item.kind] = (number + 1, size + item.bytes)
    return found
