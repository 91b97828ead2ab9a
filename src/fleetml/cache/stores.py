"""The index of the cache: which result a key was computed as.

A store is a value with four methods; each passes ``tests/conformance/test_cache_stores.py``. A cache that cannot be
used is no reason for a step to fail: a store says so to `tell` and behaves as if it held nothing.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fleetml import atomic
from fleetml.frozen import asdict, field, frozen

Tell = Callable[[str], None]
"""Told, in one line, why something that is or ought to be in the cache could not be used."""

_KEY = r"[0-9a-f]{64}\Z"
_RESULT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\Z")


def ignore(line: str) -> None:
    """The `Tell` of those who do not listen."""


@frozen
class Entry:
    """Where a key leads: the name of a result, the SHA-256 of its ``result.json``, and what the key was made of.

    `created` is in seconds since the epoch; `step`, `pipeline` and `run` are those that computed it.
    """

    result: str
    sha256: str
    parts: Mapping[str, str]
    created: float
    step: str = ""
    pipeline: str = ""
    run: str = ""

    def __post_init__(self) -> None:
        if not _RESULT.match(self.result) or not isinstance(self.created, int | float):
            raise ValueError(f"an entry names a result and a time, got {self.result!r} and {self.created!r}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, text: bytes | str) -> Entry:
        """Return the entry that a JSON text holds. Raises ValueError for any other text."""
        try:
            return cls(**json.loads(text))
        except (TypeError, RecursionError) as error:
            raise ValueError(f"no entry: {error}") from None

    def expired(self, ttl: float) -> bool:
        """Say whether it is older than `ttl` seconds; 0 is for ever."""
        return bool(ttl) and time.time() - self.created > ttl


class Store(Protocol):
    """An index of results. Any number of threads and processes may use one at once; the last writer of a key wins."""

    def get(self, key: str, tell: Tell = ignore) -> Entry | None:
        """Return the entry of a key; None where there is none, it is too old, or it cannot be read (told)."""
        ...

    def put(self, key: str, entry: Entry, tell: Tell = ignore) -> None:
        """Let `key` lead to `entry` from now on; tell where that cannot be done."""
        ...

    def remove(self, key: str) -> bool:
        """Forget a key; say whether there was something, be it damaged."""
        ...

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield every key and its entry, expired ones too; what cannot be read is left out."""
        ...


class Nothing:
    """Keeps nothing: every step is run."""

    def get(self, key: str, tell: Tell = ignore) -> Entry | None:
        return None

    def put(self, key: str, entry: Entry, tell: Tell = ignore) -> None:
        pass

    def remove(self, key: str) -> bool:
        return False

    def entries(self) -> Iterator[tuple[str, Entry]]:
        yield from ()


@frozen
class Memory:
    """Keeps entries as long as this process lives: equal steps of its runs are computed once."""

    ttl: float = 0.0
    _known: dict[str, Entry] = field(default_factory=dict)

    def get(self, key: str, tell: Tell = ignore) -> Entry | None:
        entry = self._known.get(key)
        return None if entry is None or entry.expired(self.ttl) else entry

    def put(self, key: str, entry: Entry, tell: Tell = ignore) -> None:
        self._known[key] = entry

    def remove(self, key: str) -> bool:
        return self._known.pop(key, None) is not None

    def entries(self) -> Iterator[tuple[str, Entry]]:
        yield from list(self._known.items())


@frozen
class Disk:
    """Keeps each entry as a file ``<folder>/<key>.json``, written aside and renamed."""

    folder: Path
    ttl: float = 0.0

    def get(self, key: str, tell: Tell = ignore) -> Entry | None:
        try:
            entry = Entry.parse(atomic.read_bytes(self._place(key)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            tell(f"the cache's entry {self._place(key)} cannot be used ({error}); the next result replaces it")
            return None
        return None if entry.expired(self.ttl) else entry

    def put(self, key: str, entry: Entry, tell: Tell = ignore) -> None:
        try:
            atomic.write_json(self._place(key), entry.to_json())
        except OSError as error:
            tell(f"the cache's entry {self._place(key)} cannot be written ({error.strerror}); nobody will reuse this")

    def remove(self, key: str) -> bool:
        try:
            self._place(key).unlink()
        except FileNotFoundError:
            return False
        return True

    def entries(self) -> Iterator[tuple[str, Entry]]:
        for place in self.folder.glob("*.json"):
            try:
                if re.match(_KEY, place.stem):
                    yield place.stem, Entry.parse(atomic.read_bytes(place))
            except (OSError, ValueError):
                continue

    def _place(self, key: str) -> Path:
        return self.folder / f"{key}.json"


@frozen
class Hybrid:
    """Several stores, the fastest first: the first hit wins and is written back to the faster ones."""

    stores: Sequence[Store]

    def get(self, key: str, tell: Tell = ignore) -> Entry | None:
        for place, store in enumerate(self.stores):
            if entry := store.get(key, tell):
                for faster in self.stores[:place]:
                    faster.put(key, entry, tell)
                return entry
        return None

    def put(self, key: str, entry: Entry, tell: Tell = ignore) -> None:
        for store in self.stores:
            store.put(key, entry, tell)

    def remove(self, key: str) -> bool:
        removed = [store.remove(key) for store in self.stores]
        return any(removed)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        known: dict[str, Entry] = {}
        for store in self.stores:
            for key, entry in store.entries():
                known.setdefault(key, entry)
        yield from known.items()
