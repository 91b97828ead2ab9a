"""Covariates of a VM from the online feature store, off the event loop."""

import asyncio
import contextlib
import importlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from fleetml.breakers import Breaker, Open
from fleetml.errors import ConfigurationError

LOOKUP_SECONDS = 0.5
"""A look-up that takes longer counts as failed: a forecast without covariates beats one that comes too late."""

FAILURES, PAUSE_SECONDS = 5, 10.0
"""So many failed look-ups in a row, and none is tried for so long."""

log = logging.getLogger(__name__)


class Store(Protocol):
    """An online feature store; its methods block, and may raise."""

    def check(self, service: str) -> None:
        """Raise ConfigurationError where the store lacks a feature service, or means something else by its features."""
        ...

    def look_up(self, vm_id: str, references: Sequence[str], at: datetime) -> Mapping[str, float]:
        """Return the values known at a moment by feature reference."""
        ...


class Covariates(Protocol):
    """Where a model's covariates come from when the caller sends none."""

    async def prepare(self, references: Sequence[str], service: str = "") -> None:
        """Get ready to look up these features; called when a model is loaded, never during a request.

        Raises ConfigurationError for a feature `service` ("": none) that is not there, or not what the model was trained on.
        """
        ...

    async def of(self, vm_id: str, references: Sequence[str], at: datetime) -> Mapping[str, float]:
        """Return the values known of the VM at a moment (aware) by feature reference; never raises."""
        ...


class Absent:
    """No feature store: every covariate is absent."""

    async def prepare(self, references: Sequence[str], service: str = "") -> None:
        return None

    async def of(self, vm_id: str, references: Sequence[str], at: datetime) -> Mapping[str, float]:
        return {}


class Feast:
    """The Feast online store in `folder`, opened with the first model that needs it.

    Importing Feast takes ten seconds, so that begins at once, in a thread that holds up neither start nor end.
    """

    def __init__(self, folder: Path, open_store: Callable[[Path], Store] | None = None) -> None:
        self._importing = threading.Thread(target=_import, name="import-feast", daemon=True)
        self._importing.start()
        self._folder = folder
        self._open_store = open_store or _open
        self._store: Store | None = None
        self._failing = False
        self._breaker = Breaker("feature_store", FAILURES, PAUSE_SECONDS)
        self._late: Future[Mapping[str, float]] | None = None
        self._thread = ThreadPoolExecutor(1, "online-features")

    async def prepare(self, references: Sequence[str], service: str = "") -> None:
        if not references:
            return
        loop = asyncio.get_running_loop()
        try:
            while self._importing.is_alive():  # in the pool it would hold up the server's end
                await asyncio.sleep(0.05)
            if self._store is None:
                self._store = await loop.run_in_executor(self._thread, self._open_store, self._folder)
            if service:
                await loop.run_in_executor(self._thread, self._store.check, service)
            now = datetime.now(UTC)
            await loop.run_in_executor(self._thread, self._store.look_up, "", references, now)  # the first is slow
        except Exception as error:
            if service and isinstance(error, ConfigurationError):
                raise
            log.error("the feature store %s does not answer; forecasts go without covariates: %s", self._folder, error)

    async def of(self, vm_id: str, references: Sequence[str], at: datetime) -> Mapping[str, float]:
        if self._store is None or not references or (self._late and not self._late.done()):
            return {}
        try:
            with self._breaker.calling():
                found = await self._look_up(self._store, vm_id, references, at)
        except Open:
            return {}
        except Exception as error:
            self._tell(error)
            return {}
        self._tell(None)
        return found

    async def _look_up(self, store: Store, vm_id: str, references: Sequence[str], at: datetime) -> Mapping[str, float]:
        lookup = self._thread.submit(store.look_up, vm_id, references, at)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(lookup), LOOKUP_SECONDS)
        except BaseException:
            self._late = lookup  # while it still hangs, nobody waits behind it
            raise

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


class _Project:
    """The store in `folder`, by the project's own feature definitions, which are at its root."""

    def __init__(self, folder: Path) -> None:
        from feature_repo.store import opened

        self._folder = folder
        opened(folder)

    def check(self, service: str) -> None:
        from feature_repo.store import check_service

        check_service(self._folder, service)

    def look_up(self, vm_id: str, references: Sequence[str], at: datetime) -> Mapping[str, float]:
        from feature_repo.store import online_features

        return online_features(self._folder, [vm_id], references, at)[vm_id]


def _open(folder: Path) -> Store:
    return _Project(folder)
