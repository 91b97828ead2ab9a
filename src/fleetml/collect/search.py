"""Finds what is garbage: see `fleetml.collect`."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetml import artifact_store, atomic, cache
from fleetml.cache.stores import Entry
from fleetml.errors import ConfigurationError
from fleetml.records import Run, runs
from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.collect import Needed

_RESULT = re.compile(r"[A-Za-z0-9_.-]+-[0-9a-f]{16}(?![0-9a-f])")
_WRITING = 3600.0  # s after which what is not finished never will be


class Search:
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
        self._find_searches()
        self._find_environments(held)

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

    def shared(self, store: artifact_store.ArtifactStore) -> dict[str, int]:
        """Return the results in a store that nobody of this machine needs, and their bytes. Raises what the store raises."""
        found = store.older(self._begun)
        free = {name: size for name, size in found.items() if _RESULT.fullmatch(name) and name not in self._used}
        return {name: size for name, size in free.items() if not self._is_of_a_model(Path(name), store.result)}

    def _is_of_a_model(self, result: Path, read: Callable[[str], bytes] | None = None) -> bool:
        """Say whether one of its artifacts is what a registered or deployed model was made of, or the model itself."""
        if not self.needed.digests:
            return False
        try:
            content = read(result.name) if read else atomic.read_bytes(result / "result.json")
            made = json.loads(content)["artifacts"]
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

    def _find_searches(self) -> None:
        """Records of searches; one stays as long as a model comes from one of its trials."""
        for place in _listed(self.home / "searches"):
            trials = f"{place.stem}-trial-"
            if _changed(place) < self.before and not any(run.startswith(trials) for run in self.needed.runs):
                self.doomed.append(("search", place))

    def _find_environments(self, held: ExitStack) -> None:
        """Environments with the packages that components install; one that is wanted again is made again."""
        from fleetml.runners.packages import unused

        if not self._busy:  # a step that runs may be in any of them
            found = held.enter_context(unused(self.home / "environments", self._begun))
            self.doomed += [("environment" if place.is_dir() else "leftover", place) for place in found]


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
