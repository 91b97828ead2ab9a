"""The table of loaded models: follows ``deployment.json`` and swaps versions without dropping a request.

A request keeps the `Served` it began with; the table's entry is replaced only once the new version is loaded and tried.
A version that does not load is refused, said in the log and in ``server.json``, and the old one goes on serving.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.errors import FleetMLError
from fleetml.serving import deployment, model
from fleetml.serving.backends import Backend
from fleetml.serving.deployment import POINTER, Deployed, Rollout, Version
from fleetml.serving.errors import NotDeployed, UnknownModel
from fleetml.serving.model import Model
from fleetml.serving.online import Covariates
from fleetml.serving.routing import Served

POLL_SECONDS = 0.2
FEATURE_SERVICE = "fleetml.feature_service"
"""Entry of a graph's metadata: the feature service it was trained on, named by what its features mean."""

log = logging.getLogger(__name__)


class Models:
    """Models of a serving folder by name, loaded by `backend` in `executor`. `status` is the file, usually ``server.json``,
    that tells of them; `about` is written into it, too (address, pid).

    `covariates` is prepared before a version serves. `changed` is awaited with what serves after each look; `looked`
    says that there was one.
    """

    def __init__(
        self,
        root: Path,
        status: Path,
        executor: Executor,
        backend: Backend,
        covariates: Covariates,
        changed: Callable[[Mapping[str, Served]], Awaitable[None]],
        about: dict[str, Any],
    ) -> None:
        self._root = root
        self._status = status
        self._executor = executor
        self._backend = backend
        self._covariates = covariates
        self._changed = changed
        self._about = about
        self._loaded: dict[str, Served] = {}
        self._refused: dict[str, tuple[Deployed, str]] = {}
        self._seen: object = object()
        self._untold = False
        self.looked = False

    def get(self, name: str) -> Served:
        """Return what serves as a model. Raises NotDeployed, UnknownModel for a name never deployed."""
        if found := self._loaded.get(name):
            return found
        if refused := self._refused.get(name):
            raise NotDeployed(f"model {name} version {refused[0].version} was refused: {refused[1]}")
        deployed = ", ".join(sorted(self._loaded)) or "none"
        raise UnknownModel(
            f"model {name!r} must be deployed before it is asked, deployed: {deployed}; "
            f"{_train(name)} and wait for its deploy step"
        )

    def version(self, name: str, version: str = "") -> Model:
        """Return the served version of a model, or the loaded one of that name. Raises NotDeployed."""
        served = self.get(name)
        for known in (served.champion, served.challenger):
            if known and version in ("", known.version):
                return known
        raise UnknownModel(
            f"model {name} has the versions {', '.join(self.versions(name))} loaded, got {version!r}; ask for one of these"
        )

    def versions(self, name: str) -> list[str]:
        """Return the loaded versions of a model, the served one first. Raises NotDeployed."""
        served = self.get(name)
        return [known.version for known in (served.champion, served.challenger) if known]

    def loaded(self) -> Mapping[str, Served]:
        """Return what serves, by name."""
        return self._loaded

    def status(self) -> dict[str, Any]:
        """Return what is loaded (name → version, sha256, rollout) and what was refused (… and why)."""
        return {
            **self._about,
            "models": {name: _told(served) for name, served in sorted(self._loaded.items())},
            "refused": {
                n: {"version": d.version, "sha256": d.sha256, "error": error}
                for n, (d, error) in sorted(self._refused.items())
            },
        }

    async def watch(self) -> None:
        """Follow the serving folder until cancelled; whatever goes wrong there, keep what is loaded."""
        said: object = None
        while True:
            try:
                await self.refresh()
                said = None
            except Exception as error:
                kind = (type(error), getattr(error, "errno", 0))  # the text names files that are new each time
                if kind != said:  # once, however long it lasts
                    log.exception("the serving folder could not be read or written; what is loaded goes on serving")
                said = kind
            await asyncio.sleep(POLL_SECONDS)

    async def refresh(self) -> None:
        """Load what ``deployment.json`` names now, if it changed since the last look; tell what could not be told then."""
        now = stamp(self._root / POINTER)
        if now != self._seen:
            self._seen = now
            await self._read()
        if self._untold:
            atomic.write_json(self._status, self.status())
            self._untold = False

    async def _read(self) -> None:
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
        self.looked = self._untold = True
        await self._changed(self._loaded)

    async def _load(self, name: str, deployed: Deployed) -> None:
        serving = self._loaded.get(name)
        try:
            champion = await self._version(name, deployed, serving)
        except Exception as error:
            old = (
                f"version {serving.champion.version} goes on serving"
                if serving
                else "nothing is served under this name"
            )
            log.error("model %s version %s refused (%s): %s", name, deployed.version, old, error)
            self._refused[name] = (deployed, str(error))
            return
        self._refused.pop(name, None)
        self._loaded[name] = await self._beside(name, champion, deployed.rollout, serving)
        if not serving or serving.champion is not champion:
            log.info("model %s version %s serves", name, deployed.version)

    async def _beside(self, name: str, champion: Model, rollout: Rollout | None, serving: Served | None) -> Served:
        """Load the version of a rollout. One that does not load is a failure of the rollout, not of the model."""
        if rollout is None:
            return Served(champion)
        if serving and serving.fault and serving.rollout and serving.rollout.sha256 == rollout.sha256:
            return Served(champion, rollout, None, serving.fault)
        try:
            return Served(champion, rollout, await self._version(name, rollout, serving))
        except Exception as error:
            log.error("rollout %s of model %s: version %s refused: %s", rollout.id, name, rollout.version, error)
            return Served(champion, rollout, None, str(error))

    async def _version(self, name: str, version: Version, serving: Served | None) -> Model:
        """Return a version, the loaded one where it is loaded already."""
        for known in (serving.champion, serving.challenger) if serving else ():
            if known and (known.version, known.sha256) == (version.version, version.sha256):
                return known
        loop = asyncio.get_running_loop()
        loaded = await loop.run_in_executor(self._executor, model.load, self._root, name, version, self._backend)
        service = loaded.session.metadata.get(FEATURE_SERVICE, "")
        await self._covariates.prepare(loaded.kind.covariates(loaded.about), service)
        return loaded


def _told(served: Served) -> dict[str, Any]:
    told: dict[str, Any] = {"version": served.champion.version, "sha256": served.champion.sha256}
    if served.rollout:
        beside = {"id": served.rollout.id, "version": served.rollout.version, "sha256": served.rollout.sha256}
        told["rollout"] = {**beside, "share": served.rollout.share, "error": served.fault}
    return told


def stamp(path: Path | None) -> tuple[int, ...] | None:
    """Tell one state of a file from another, None: there is none; a rename over it changes the inode even within one tick of the clock."""
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_ino, found.st_size)


def _train(name: str) -> str:
    if name in ("placement", "anomaly", "window_anomaly"):
        return f"train one (fleetml run dags/train_{name})"
    return f"train one (make run TARGET={name})"
