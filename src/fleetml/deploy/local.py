"""A deployment on this machine: the stack's server serves its versions with its settings, or everything is as it was."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from fleetml.deploy import output, smoke, versions
from fleetml.deploy.spec import Deployment
from fleetml.deploy.versions import Candidate
from fleetml.errors import StepFailed, Unavailable
from fleetml.serving import backends, deployment, settings
from fleetml.serving.rollout import actions, confirm
from fleetml.serving.rollout.actions import Place
from fleetml.serving.settings import ServerSettings
from fleetml.settings import Settings
from fleetml.stack import processes
from fleetml.stack.processes import Service
from fleetml.stack.up import Tell, server

SECONDS = 120.0
"""For the server to take over settings, and to load a version."""


@dataclass(frozen=True)
class Deployed:
    """Where it answers, in which folder lies what was made of it, and what the registry was not told (model → why)."""

    service: Service
    http: str
    versions: dict[str, str]
    folder: Path
    files: list[str]
    untold: dict[str, str]


def write(own: Settings, spec: Deployment, text: str, target: Path) -> list[str]:
    """Write what is made of a deployment into `target`, which nothing may be yet, and start nothing.

    Return the names in it. Raises as `fleetml.deploy.versions` does; then nothing is written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        found = list(versions.candidates(own, spec, Path(scratch)))
        return output.write(target, text, spec, found)


def deploy(own: Settings, spec: Deployment, text: str, tell: Tell) -> Deployed:
    """Serve a deployment by the stack's server, which is started if it does not run.

    Raises what `fleetml.deploy.versions` does before anything changes, StepFailed where the server refuses a version or
    answers wrongly, Unavailable where it does not answer; what was served before is served again then.
    """
    backends.choose(spec.server.backend)
    with _alone(own.home, tell), tempfile.TemporaryDirectory() as scratch:
        found = list(versions.candidates(own, spec, Path(scratch)))
        for each in found:
            versions.install(own.serving_dir, each)
        with ExitStack() as undo:
            service = _configure(own, spec.server, tell, undo)
            place = Place(own.serving_dir, own.registry, actions.person())
            untold: dict[str, str] = {}
            for each in found:
                if said := _serve(place, spec.name, each, undo):
                    untold[each.model.name] = said
            for each in found:
                smoke.ask(own.serving_dir, service.address, each)
            target = output.place(own.home, spec.name)
            files = output.write(target, text, spec, found)
            undo.pop_all()
        numbers = {each.model.name: each.model.version for each in found}
        http = str(deployment.status(own.serving_dir).get("http", ""))
        return Deployed(service, http, numbers, target, files, untold)


def _configure(own: Settings, wanted: ServerSettings, tell: Tell, undo: ExitStack) -> Service:
    """Have the server run with these settings."""
    path = own.serving_dir / settings.FILE
    before = path.read_bytes() if path.exists() else None
    undo.callback(_put_back, path, before)
    own.serving_dir.mkdir(parents=True, exist_ok=True)
    settings.write(path, wanted)
    service = server(own, tell)
    if not processes.wait_until(lambda: _settled(own.serving_dir, wanted), SECONDS, 0.05):
        raise Unavailable(
            f"the server at {service.address} must take over the new settings within {SECONDS:.0f} s, it did not; see {service.log}"
        )
    if refused := deployment.status(own.serving_dir).get("settings_refused"):
        raise StepFailed(f"the server must run with the new settings, {refused['error']}: {service.log}")
    return service


def _settled(root: Path, wanted: ServerSettings) -> bool:
    said = deployment.status(root)
    refused = said.get("settings_refused") or {}
    return asdict(wanted) in (said.get("settings"), refused.get("settings"))


def _put_back(path: Path, before: bytes | None) -> None:
    if before is None:
        path.unlink(missing_ok=True)
    else:
        settings.atomic.write_text(path, before.decode())


def _serve(place: Place, deployment_name: str, found: Candidate, undo: ExitStack) -> str:
    """Have the server serve a version; return what the registry was not told, "": all."""
    name, version = found.model.name, found.model.version
    before = deployment.read(place.root).get(name)
    done = actions.deploy(place, name, version, f"deployment {deployment_name}")
    if done:
        undo.callback(actions.take_back, place, name, version, before, f"deployment {deployment_name} failed")
    served = confirm.wait(place.root, name, version, SECONDS)
    if served.state == "refused":
        raise StepFailed(
            f"the server must load {name} {version}, it says {served.why}; what was served before is served again"
        )
    if served.state != "serving":
        raise Unavailable(f"the server must load {name} {version} within {SECONDS:.0f} s, it did not; see its log")
    return done.registry if done else ""


@contextmanager
def _alone(home: Path, tell: Callable[[str, str], None]) -> Iterator[None]:
    """Let one deployment at a time change what is served here."""
    (home / output.FOLDER).mkdir(parents=True, exist_ok=True)
    with (home / output.FOLDER / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            tell("deploy", "waiting for another deployment")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
