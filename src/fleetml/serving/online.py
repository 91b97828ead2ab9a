"""Covariates of a VM from the online feature store, off the event loop."""

import asyncio
import contextlib
import importlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

LOOKUP_SECONDS = 0.5
"""A look-up that takes longer counts as failed: a forecast without covariates beats one that comes too late."""

log = logging.getLogger(__name__)


Lookup = Callable[[str, Sequence[str]], Mapping[str, float]]
"""vm_id, feature references → values known; blocks, may raise."""


class Covariates(Protocol):
    """Where a model's covariates come from when the caller sends none."""

    async def prepare(self, references: Sequence[str]) -> None:
        """Get ready to look up these features; called when a model is loaded, never during a request."""
        ...

    async def of(self, vm_id: str, references: Sequence[str]) -> Mapping[str, float]:
        """Return the values known of the VM by feature reference; never raises."""
        ...


class Absent:
    """No feature store: every covariate is absent."""

    async def prepare(self, references: Sequence[str]) -> None:
        return None

    async def of(self, vm_id: str, references: Sequence[str]) -> Mapping[str, float]:
        return {}


class Feast:
    """The Feast online store in `folder`, opened with the first model that needs it.

    Importing Feast takes ten seconds, so that begins at once, in a thread that holds up neither start nor end.
    """

    def __init__(self, folder: Path, open_store: Callable[[Path], Lookup] | None = None) -> None:
        self._importing = threading.Thread(target=_import, name="import-feast", daemon=True)
        self._importing.start()
        self._folder = folder
        self._open_store = open_store or _open
        self._store: Lookup | None = None
        self._failing = False
        self._late: Future[Mapping[str, float]] | None = None
        self._thread = ThreadPoolExecutor(1, "online-features")

    async def prepare(self, references: Sequence[str]) -> None:
        if not references:
            return
        loop = asyncio.get_running_loop()
        try:
            while self._importing.is_alive():  # in the pool it would hold up the server's end
                await asyncio.sleep(0.05)
            if self._store is None:
                self._store = await loop.run_in_executor(self._thread, self._open_store, self._folder)
            await loop.run_in_executor(self._thread, self._store, "", references)  # the first look-up is slow
        except Exception as error:
            log.error("the feature store %s does not answer; forecasts go without covariates: %s", self._folder, error)

    async def of(self, vm_id: str, references: Sequence[str]) -> Mapping[str, float]:
        if self._store is None or not references or (self._late and not self._late.done()):
            return {}
        lookup = self._thread.submit(self._store, vm_id, references)
        try:
            found = await asyncio.wait_for(asyncio.wrap_future(lookup), LOOKUP_SECONDS)
        except Exception as error:
            self._late = lookup  # while it still hangs, nobody waits behind it
            self._tell(error)
            return {}
        self._tell(None)
        return found

    def _tell(self, error: Exception | None) -> None:
        """Say once that look-ups fail, and once that they work again."""
        if error and not self._failing:
            log.warning("look-ups in the feature store fail; forecasts go without covariates: %r", error)
        elif self._failing and not error:
            log.info("look-ups in the feature store work again")
        self._failing = error is not None


def _import() -> None:
    with contextlib.suppress(Exception):  # whoever opens the store is told
        importlib.import_module("feature_repo.store")


def _open(folder: Path) -> Lookup:
    from feature_repo.store import online_features  # the project's own feature definitions, at its root

    def lookup(vm_id: str, references: Sequence[str]) -> Mapping[str, float]:
        return online_features(folder, [vm_id], references)[vm_id]

    return lookup
