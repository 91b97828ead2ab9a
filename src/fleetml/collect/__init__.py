"""Garbage collection: what is old and needed by nobody goes; what is needed is found by following what is kept.

A run is kept while it is young, among the last of its pipeline, running, or the origin of a registered model. Kept
runs keep the results that their records name; young cache entries keep theirs; models that are registered or
deployed keep every result with the bytes they were made of. Unfinished results stay while their run runs.
Environments that steps' packages were installed into, and records of searches, go when they were not used for as long.
Steps may go on meanwhile (`fleetml.results_lock`). What lies in an artifact store that machines share is left alone unless
that is asked for: nobody knows what the runs of other machines need.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from fleetml import artifact_store, results_lock
from fleetml.collect.search import Search
from fleetml.errors import ConfigurationError
from fleetml.frozen import frozen
from fleetml.serving import deployment
from fleetml.settings import Settings

_TRASH = ".trash"


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
    """One thing nobody needs, of `bytes` bytes: a "run", "result", "unfinished result", "cache entry", "environment",
    "search", "shared result", "leftover" or "traffic day".
    """

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
    settings: Settings,
    needed: Needed,
    older_than: float,
    keep_last: int = 0,
    dry_run: bool = False,
    shared: bool = False,
    traffic: float | None = None,
) -> Collection:
    """Remove what is older than `older_than` seconds and needed by nobody; with `dry_run` only find it.

    `keep_last` runs of each pipeline stay in any case. `shared`: of the artifact store too, as if no other machine had runs.
    `traffic`: also days of the prediction log and the truth that are that many seconds old. Raises OSError, and what the
    store raises.
    """
    trash = settings.home / _TRASH / os.urandom(8).hex()
    with ExitStack() as held, results_lock.alone(settings.home):
        found = Search(settings, needed, time.time() - older_than, keep_last)
        found.run(held)
        remote = artifact_store.of(settings) if shared else None
        far = found.shared(remote) if remote else {}
        sizes = [Garbage(kind, place.name, _size(place)) for kind, place in found.doomed]
        if not dry_run:
            trash.mkdir(parents=True)
            for number, (_, place) in enumerate(found.doomed):
                with contextlib.suppress(FileNotFoundError):  # its writer was still alive
                    place.rename(trash / f"{number}")
            for key in found.entries:
                found.store.remove(key)
    old = _traffic(settings.serving_dir, traffic, dry_run)
    if remote and not dry_run:
        for name in far:
            remote.remove(name)
    if not dry_run:
        shutil.rmtree(settings.home / _TRASH)  # what an interrupted collection left goes too
    entries = [Garbage("cache entry", key, 0) for key in found.entries]
    others = [Garbage("shared result", name, size) for name, size in far.items()]
    return Collection([*sizes, *others, *entries, *old], found.kept_for_models)


def _traffic(root: Path, age: float | None, dry_run: bool) -> list[Garbage]:
    if age is None:
        return []
    from fleetml.collect.traffic import days

    found = [
        (day, Garbage("traffic day", str(day.relative_to(root)), _size(day))) for day in days(root, time.time() - age)
    ]
    for day, _ in found:
        if not dry_run:
            shutil.rmtree(day)  # not by way of the trash: a serving folder may be on another disk
    return [item for _, item in found]


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
