"""A deployment on this machine: the stack's server serves its versions with its settings, or everything is as it was."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleetml import lockfile
from fleetml.deploy import output, smoke, versions
from fleetml.deploy.configure import configure
from fleetml.deploy.spec import Deployment
from fleetml.deploy.versions import Candidate
from fleetml.errors import StepFailed, Unavailable
from fleetml.serving import backends, deployment
from fleetml.serving.rollout import actions, confirm
from fleetml.serving.rollout.actions import Place
from fleetml.settings import Settings
from fleetml.stack.processes import Service
from fleetml.stack.up import Tell

SECONDS = 120.0
"""For the server to load a version."""


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


def deploy(own: Settings, spec: Deployment, text: str, tell: Tell, shorter_horizon: bool = False) -> Deployed:
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
            service = configure(own, spec.name, spec.server, tell, undo)
            place = Place(own.serving_dir, own.registry, actions.person(), shorter_horizon)
            untold: dict[str, str] = {}
            with ExitStack() as trials:
                for each in found:
                    if said := _serve(place, spec.name, each, trials):
                        untold[each.model.name] = said
                for each in found:
                    smoke.ask(own.serving_dir, service.address, each)
                target = output.place(own.home, spec.name)
                files = output.write(target, text, spec, found)
                undo.pop_all()
        numbers = {each.model.name: each.model.version for each in found}
        http = str(deployment.status(own.serving_dir).get("http", ""))
        return Deployed(service, http, numbers, target, files, untold)


def _serve(place: Place, deployment_name: str, found: Candidate, trials: ExitStack) -> str:
    """Have the server serve a version, on trial until `trials` ends; return what the registry was not told, "": all."""
    name, version = found.model.name, found.model.version
    untold = ""
    if not actions.tested(place.root, name, version):
        untold = trials.enter_context(actions.on_trial(place, name, version, f"deployment {deployment_name}")).registry
    served = confirm.wait(place.root, name, version, SECONDS)
    if served.state == "refused":
        raise StepFailed(
            f"the server must load {name} {version}, it says {served.why}; what was served before is served again"
        )
    if served.state != "serving":
        raise Unavailable(f"the server must load {name} {version} within {SECONDS:.0f} s, it did not; see its log")
    return untold


@contextmanager
def _alone(home: Path, tell: Callable[[str, str], None]) -> Iterator[None]:
    """Let one deployment at a time change what is served here."""
    (home / output.FOLDER).mkdir(parents=True, exist_ok=True)
    with lockfile.held(home / output.FOLDER / ".lock", lambda: tell("deploy", "waiting for another deployment")):
        yield
