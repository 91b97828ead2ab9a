"""What a person, deploy or the controller may do to what is served: each changes ``deployment.json`` first, then tells.

Registry and audit trail follow. A registry that does not answer never holds up a change: what its aliases ought to be is noted
in ``rollouts/mend/<model>`` before the change, and the controller mends them (`mend`).
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleetml import lockfile
from fleetml.errors import ConfigurationError, InvalidParameter, Unavailable, nearest
from fleetml.serving import aliases, audit, deployment, horizon
from fleetml.serving.deployment import Deployed, Rollout
from fleetml.serving.rollout import untested

log = logging.getLogger(__name__)

ROLLOUTS = "rollouts"
Evidence = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """The serving folder, the registry's URI ("": none is told), who acts, and whether a shorter horizon than the served one will do."""

    root: Path
    registry: str
    who: str
    shorter_horizon: bool = False


@dataclass(frozen=True)
class Done:
    """What was done: its line in the audit trail, and what the registry said if it was not told ("": it was)."""

    line: Mapping[str, Any]
    registry: str = ""


def served(root: Path, name: str) -> Deployed:
    """Return what is served of a model. Raises InvalidParameter where nothing is."""
    models = deployment.read(root)
    if name not in models:
        known = ", ".join(sorted(models)) or "none"
        told = nearest(name, models) or ("; name one of those" if models else "; train it first")
        raise InvalidParameter(f"{name!r} is not served; served: {known}{told}")
    return models[name]


def begin(place: Place, name: str, version: str, mode: str, share: float, reason: str) -> Done:
    """Try an installed version beside the served one. A canary or shadow under way gives way, an A/B test does not.

    Raises InvalidParameter.
    """
    before = served(place.root, name)
    _require_installed(place.root, name, version)
    _require_horizon(place, name, version, before)
    if before.rollout and before.rollout.mode == "ab":
        raise InvalidParameter(
            f"model {name} has one rollout at a time, the A/B test {before.rollout.id} goes on until somebody ends it; "
            f"fleetml promote or rollback {name}"
        )
    with _told(place, name, "begin", f"{mode}: {reason}") as told:
        deployment.begin(place.root, name, version, mode, share, datetime.now(UTC), _id(before.rollout))
    return told.done()


def split(place: Place, name: str, version: str, share: float, reason: str) -> Done:
    """Have `version` answer this share of the VMs, until somebody ends that: an A/B test.

    A rollout of this version that is under way becomes one. Raises InvalidParameter.
    """
    before = served(place.root, name)
    _require_installed(place.root, name, version)
    _require_horizon(place, name, version, before)
    if not 0 < share < 1:
        raise InvalidParameter(f"the share of a split lies between 0 and 1 (0.1 or 10%), got {share:g}; correct it")
    with _told(place, name, "split", reason) as told:
        now = before.rollout
        if now and now.version == version and now.mode == "ab":
            deployment.advance(place.root, name, now.id, share)
        else:
            deployment.begin(place.root, name, version, "ab", share, datetime.now(UTC), _id(now))
    return told.done()


def advance(place: Place, name: str, rollout: Rollout, share: float, reason: str, evidence: Evidence) -> Done:
    """Give a rollout another share. Raises InvalidParameter where it is not under way (any more)."""
    with _told(place, name, "advance", reason, evidence) as told:
        deployment.advance(place.root, name, rollout.id, share)
    return told.done()


def tested(root: Path, name: str, version: str) -> bool:
    """Say whether a version is served, and not only on trial."""
    served = deployment.read(root).get(name)
    return bool(served and served.version == version and not untested.stands(root, name, version))


@contextmanager
def on_trial(place: Place, name: str, version: str, reason: str) -> Iterator[Done]:
    """Serve an installed version alone while the block tests it, and from then on; where the block fails, take it back.

    A rollout ends. Begun again after a kill, it goes back to what was served before the first attempt. Raises InvalidParameter, OSError.
    """
    _require_horizon(place, name, version, deployment.read(place.root).get(name))
    before, noted = None, False
    try:
        with _told(place, name, "deploy", reason) as told:
            before, noted = untested.begin(place.root, name, version), True
            deployment.point(place.root, name, version)
        yield told.done()
    except BaseException as error:
        if noted:
            take_back(place, name, version, before, f"it failed its test: {str(error) or type(error).__name__}")
        raise
    untested.passed(place.root, name, version)


def take_back(place: Place, name: str, version: str, before: Deployed | None, reason: str) -> Done:
    """Serve again what was served before a deployment that failed."""
    with _told(place, name, "restore", reason) as told:
        deployment.restore(place.root, name, version, before)
    return told.done()


def promote(
    place: Place, name: str, version: str, reason: str, evidence: Evidence | None = None, rollout: str = ""
) -> Done:
    """Serve `version` alone ("": that of the rollout under way). A rollout ends.

    With the id of a `rollout` only while that is under way. Raises InvalidParameter.
    """
    before = served(place.root, name)
    under_way = before.rollout
    version = version or (under_way.version if under_way else "")
    if not version:
        raise InvalidParameter(f"model {name} has no rollout under way, so promote needs a version; give one")
    if version == before.version:
        raise InvalidParameter(f"version {version} of {name} is served already; name another, or roll back")
    _require_installed(place.root, name, version)
    if not (under_way and under_way.version == version):  # that was asked when its rollout began
        _require_horizon(place, name, version, before)
    with _told(place, name, "promote", reason, evidence) as told:
        if rollout or (under_way and under_way.version == version):
            deployment.end(place.root, name, rollout or (under_way.id if under_way else ""), promote=True)
        else:
            deployment.point(place.root, name, version)
    return told.done()


def roll_back(place: Place, name: str, reason: str, evidence: Evidence | None = None, rollout: str = "") -> Done:
    """End the rollout under way; where there is none, serve the previous version again.

    With the id of a `rollout` only that. Raises InvalidParameter where there is nothing to go back to.
    """
    before = served(place.root, name)
    if not rollout and not before.rollout:
        if not before.previous:
            raise InvalidParameter(
                f"model {name} has neither a rollout under way nor a previous version to go back to, version "
                f"{before.version} is served; promote the version you want"
            )
        _require_installed(place.root, name, before.previous)
    with _told(place, name, "rollback", reason, evidence) as told:
        if rollout or before.rollout:
            deployment.end(place.root, name, rollout or (before.rollout.id if before.rollout else ""), promote=False)
        else:
            deployment.go_back(place.root, name, before.version)
    return told.done()


def mend(place: Place) -> list[Done]:
    """Tell what an interrupted change, or a registry that was down, left untold; return the lines of the audit trail.

    What still does not answer is left for the next time.
    """
    if not any((place.root / ROLLOUTS / "mend").glob("*")):
        return []
    with _alone(place.root) as folder:
        return [done for note in sorted((folder / "mend").glob("*")) for done in _mended(place, note.name)]


def _mended(place: Place, name: str) -> Iterator[Done]:
    now, trail = _shown(deployment.read(place.root).get(name)), audit.read(place.root, name)
    last = str(trail[-1]["to"]) if trail else ""
    if now != last:
        yield _written(place, audit.line(place.who, name, "found", last, now, "whoever changed it was interrupted"))
    try:
        changed = _tell_registry(place, name)
    except (Unavailable, ConfigurationError):
        return
    except Exception:  # MLflow's own, of a registry without a server: it must not hold up other models
        log.exception("the registry cannot be told what is served of %s", name)
        return
    if changed:
        why = "the registry was told late"
        yield _written(place, audit.line(place.who, name, "mend", now, now, why, {"aliases": changed}))


def _written(place: Place, line: Mapping[str, Any]) -> Done:
    audit.write(place.root, line)
    return Done(line)


def installed(root: Path, name: str) -> list[str]:
    """Return the versions in the serving folder."""
    return sorted(graph.parent.name for graph in (root / "models" / name).glob(f"*/{deployment.GRAPH}"))


class _Telling:
    """Collects what became of a change."""

    def __init__(self) -> None:
        self.line: Mapping[str, Any] = {}
        self.registry = ""

    def done(self) -> Done:
        return Done(self.line, self.registry)


@contextmanager
def _told(place: Place, name: str, action: str, reason: str, evidence: Evidence | None = None) -> Iterator[_Telling]:
    """Note that it is to be told, let the block change what is served, then tell audit trail and registry."""
    with _alone(place.root) as folder:
        before = _shown(deployment.read(place.root).get(name))
        note = folder / "mend" / name
        noted = note.exists()
        note.touch()
        told = _Telling()
        try:
            yield told
        except BaseException:
            if not noted:
                note.unlink(missing_ok=True)
            raise
        untested.tidy(place.root, name)
        after = _shown(deployment.read(place.root).get(name))
        told.line = audit.line(place.who, name, action, before, after, reason, evidence)
        audit.write(place.root, told.line)
        try:
            _tell_registry(place, name)
        except (Unavailable, ConfigurationError) as error:
            told.registry = str(error)


def _tell_registry(place: Place, name: str) -> dict[str, str]:
    """Make the aliases what is served says; return what changed. The note that it is to be told goes."""
    wanted = aliases.of(deployment.read(place.root).get(name))
    changed = aliases.assign(place.registry, name, wanted) if place.registry else {}
    (place.root / ROLLOUTS / "mend" / name).unlink(missing_ok=True)
    return changed


@contextmanager
def _alone(root: Path) -> Iterator[Path]:
    """Let one at a time change and tell: the last to read what is served must be the last to tell it."""
    folder = root / ROLLOUTS
    (folder / "mend").mkdir(parents=True, exist_ok=True)
    with lockfile.held(folder / ".lock"):
        yield folder


def _id(rollout: Rollout | None) -> str:
    return rollout.id if rollout else ""


def _require_installed(root: Path, name: str, version: str) -> None:
    if not (deployment.folder(root, name, version) / deployment.GRAPH).is_file():
        known = ", ".join(installed(root, name)) or "none"
        raise InvalidParameter(
            f"a version must be in the serving folder, {name} {version} is not (there: {known}); deploy it, or name one of those"
        )


def _require_horizon(place: Place, name: str, version: str, before: Deployed | None) -> None:
    """Questions that the served version answers must not be refused tomorrow, unless somebody says so."""
    graph = deployment.folder(place.root, name, version) / deployment.GRAPH
    found = horizon.shortened(place.root / before.graph, graph) if before and not place.shorter_horizon else None
    if before and found:
        raise InvalidParameter(
            f"a version must forecast as far as the served one, {name} {version} forecasts {found[1]}, {before.version} is served "
            f"and forecasts {found[0]}: questions beyond would be refused; train with horizon={found[0].steps}, or say that it may: "
            "--shorter-horizon, in a pipeline shorter_horizon=true"
        )


def _shown(deployed: Deployed | None) -> str:
    if deployed is None:
        return ""
    rollout = deployed.rollout
    return deployed.version + (f" + {rollout.share:.0%} {rollout.version} ({rollout.mode})" if rollout else "")


def person() -> str:
    """Return who runs this command, for the audit trail."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without users
        return f"uid {os.getuid()}"
