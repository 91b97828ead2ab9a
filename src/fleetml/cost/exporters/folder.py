"""The results files of a folder, each read again when it changes: a glance at their times, no notices of the kernel.

Notices (inotify) would save nothing that can be measured, and tell nothing of what another machine writes to a shared folder.

| found | result |
|---|---|
| a new file, one that changed, one that went | its scenarios come, change, go with the next look |
| one that cannot be read or is no JSON (half-written) | what it told before stays; read again when it changes; told |
| one above `LARGEST` | the same |
| the folder cannot be read (any more) | all that was told stays; told, and the exporters are not ready |
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from fleetml import atomic
from fleetml.cost.results_files import PATTERN, parse
from fleetml.cost.scenarios import Results
from fleetml.errors import InvalidData

T = TypeVar("T")

LARGEST = 64 << 20
"""Bytes of a file; one of a thousand scenarios with an hour of samples each has about 30 million."""


class Folder(Generic[T]):
    """What was made of each file, by its name. Only that is kept: samples are long."""

    def __init__(self, path: Path, make: Callable[[Results], T]) -> None:
        self.path = path
        self.made: dict[str, T] = {}
        self.faults: dict[str, str] = {}
        """Why a file cannot be read, by its name."""
        self.fault = "it was not looked at yet"
        """Why the folder cannot be read, "": it can."""
        self._make = make
        self._stamps: dict[str, tuple[int, ...]] = {}

    def look(self) -> bool:
        """Take in what changed; return whether anything did."""
        before = self.fault
        try:
            found = self._found()
        except OSError as error:
            self.fault = f"the folder of results must be readable, got {error.strerror} for {self.path}; mend it"
            return self.fault != before
        self.fault = ""
        gone = [name for name in self._stamps if name not in found]
        for name in gone:
            for known in (self._stamps, self.made, self.faults):
                known.pop(name, None)
        changed = [name for name, stamp in sorted(found.items()) if self._stamps.get(name) != stamp]
        for name in changed:
            self._stamps[name] = found[name]
            self._take(name, found[name][-1])
        return bool(gone or changed or before)

    def forget(self, names: Iterable[str]) -> None:
        """Have these files read again at the next look, changed or not."""
        for name in names:
            self._stamps[name] = ()

    def _found(self) -> dict[str, tuple[int, ...]]:
        with os.scandir(self.path) as entries:
            return {
                entry.name: stamp
                for entry in entries
                if fnmatch.fnmatchcase(entry.name, PATTERN) and (stamp := _stamp(entry)) is not None
            }

    def _take(self, name: str, size: int) -> None:
        try:
            if size > LARGEST:
                raise InvalidData(f"results have at most {LARGEST >> 20} MiB, got {name} of {size >> 20}; split it")
            results = parse(atomic.read_bytes(self.path / name), name)
        except InvalidData as error:
            self.faults[name] = str(error)
            return
        except (OSError, ValueError) as error:
            self.faults[name] = f"results are files that can be read, got {name}: {error}; mend or remove it"
            return
        self.faults.pop(name, None)
        self.made[name] = self._make(results)


def _stamp(entry: os.DirEntry[str]) -> tuple[int, ...] | None:
    """Return what changes with a file, its size last; None for one that has gone since."""
    try:
        found = entry.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
