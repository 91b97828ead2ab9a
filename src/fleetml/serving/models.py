"""The table of loaded models: follows ``deployment.json`` and swaps versions without dropping a request.

A request keeps the `Model` it began with; the table's entry is replaced only once the new version is loaded and tried.
A version that does not load is refused, said in the log and in ``server.json``, and the old one goes on serving.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.errors import FleetMLError
from fleetml.serving import deployment, model
from fleetml.serving.deployment import POINTER, STATUS, Deployed
from fleetml.serving.errors import NotDeployed
from fleetml.serving.model import Model
from fleetml.serving.online import Covariates

POLL_SECONDS = 0.2

log = logging.getLogger(__name__)


class Models:
    """Models by name, loaded in `executor`. `about` is written into ``server.json`` with them (address, pid).

    `covariates` is prepared before a version serves. `changed` is awaited after each look: is any model loaded?
    """

    def __init__(
        self,
        root: Path,
        executor: Executor,
        covariates: Covariates,
        changed: Callable[[bool], Awaitable[None]],
        about: dict[str, Any],
    ) -> None:
        self._root = root
        self._executor = executor
        self._covariates = covariates
        self._changed = changed
        self._about = about
        self._loaded: dict[str, Model] = {}
        self._refused: dict[str, tuple[Deployed, str]] = {}
        self._seen: object = object()

    def get(self, name: str) -> Model:
        """Return the loaded version of a model. Raises NotDeployed."""
        if found := self._loaded.get(name):
            return found
        if refused := self._refused.get(name):
            raise NotDeployed(f"model {name} version {refused[0].version} was refused: {refused[1]}")
        deployed = ", ".join(sorted(self._loaded)) or "none"
        raise NotDeployed(
            f"model {name!r} must be deployed before it is asked, deployed: {deployed}; "
            f"train one (make run TARGET={name}) and wait for its deploy step"
        )

    def status(self) -> dict[str, Any]:
        """Return what is loaded (name → version, sha256) and what was refused (… and why)."""
        return {
            **self._about,
            "models": {n: {"version": m.version, "sha256": m.deployed.sha256} for n, m in sorted(self._loaded.items())},
            "refused": {
                n: {"version": d.version, "sha256": d.sha256, "error": error}
                for n, (d, error) in sorted(self._refused.items())
            },
        }

    async def watch(self) -> None:
        """Follow the serving folder until cancelled; whatever goes wrong there, keep what is loaded."""
        while True:
            try:
                await self.refresh()
            except Exception:
                log.exception("the serving folder could not be read; what is loaded goes on serving")
            await asyncio.sleep(POLL_SECONDS)

    async def refresh(self) -> None:
        """Load what ``deployment.json`` names now, if it changed since the last look."""
        stamp = _stamp(self._root / POINTER)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            wanted = deployment.read(self._root)
        except FleetMLError as error:
            log.error("%s", error)
            return
        for name, deployed in wanted.items():
            await self._load(name, deployed)
        for name in set(self._loaded) - set(wanted):
            log.info("model %s is no longer deployed", name)
            del self._loaded[name]
        self._refused = {name: refused for name, refused in self._refused.items() if name in wanted}
        await self._changed(bool(self._loaded))
        atomic.write_json(self._root / STATUS, self.status())

    async def _load(self, name: str, deployed: Deployed) -> None:
        serving = self._loaded.get(name)
        if serving and (serving.version, serving.deployed.sha256) == (deployed.version, deployed.sha256):
            self._refused.pop(name, None)
            return
        try:
            loop = asyncio.get_running_loop()
            loaded = await loop.run_in_executor(self._executor, model.load, self._root, name, deployed)
            await self._covariates.prepare(loaded.meta.covariates)
        except Exception as error:
            old = f"version {serving.version} goes on serving" if serving else "nothing is served under this name"
            log.error("model %s version %s refused (%s): %s", name, deployed.version, old, error)
            self._refused[name] = (deployed, str(error))
            return
        self._refused.pop(name, None)
        self._loaded[name] = loaded
        log.info("model %s version %s serves", name, deployed.version)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Tell one state of a file from another; a rename over it changes the inode even within one tick of the clock."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
