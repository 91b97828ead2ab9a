"""What `fleetml validate` asks of a deployment: the registry, each version, the server that serves it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetml.deploy import output, smoke, versions
from fleetml.deploy.spec import Deployment
from fleetml.deploy.versions import Candidate
from fleetml.errors import FleetMLError, StepFailed, Unavailable
from fleetml.serving import deployment
from fleetml.serving.models import FEATURE_SERVICE
from fleetml.settings import Settings

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Check:
    """`failure` says what is wrong, "": nothing; `found` what was seen."""

    what: str
    found: str = ""
    failure: str = ""


def checks(settings: Settings, spec: Deployment, begin: Tell) -> Iterator[Check]:
    """Yield every check, those of a model that cannot be loaded left out; `begin` is told each before it is made.

    The server is asked once the deployment was made.
    """
    with tempfile.TemporaryDirectory() as scratch:
        known = []
        for served in spec.models:
            number = _tried(begin, f"{served.name} in the registry", lambda: versions.number(settings, served))  # noqa: B023
            yield number
            if number.failure:
                continue
            found: list[Candidate] = []
            yield _tried(
                begin,
                f"{served.name} {number.found} loads",
                lambda: _load(settings, served.name, number.found, Path(scratch), found),  # noqa: B023
            )
            for each in found:
                known.append(each)
                yield from _of_version(settings, spec, each, begin)
        if output.place(settings.home, spec.name).is_dir():
            yield from _of_server(settings, known, begin)


def _load(settings: Settings, name: str, version: str, scratch: Path, found: list[Candidate]) -> str:
    found.append(versions.candidate(settings, name, version, scratch))
    return f"kind {found[0].model.kind_name}"


def _of_version(settings: Settings, spec: Deployment, found: Candidate, begin: Tell) -> Iterator[Check]:
    model = found.model
    what = f"{model.name} {model.version}"
    service = model.session.metadata.get(FEATURE_SERVICE, "")
    if service and model.kind.covariates(model.about):
        yield _tried(begin, f"{what} feature service", lambda: _check_features(settings, service))
    if spec.server.backend == "tensorrt":
        yield _tried(begin, f"{what} on TensorRT", lambda: _check_tensorrt(found))


def _check_features(settings: Settings, service: str) -> str:
    if str(settings.project) not in sys.path:
        sys.path.append(str(settings.project))  # where feature_repo is
    from feature_repo.store import check_service

    check_service(settings.feature_store, service)
    return service


def _check_tensorrt(found: Candidate) -> str:
    import onnx

    from fleetml.serving.backends.tensorrt_rules import faults

    if wrong := faults(onnx.load(found.graph)):
        raise StepFailed("; ".join(wrong))
    return "its parser should take it"


def _of_server(settings: Settings, known: list[Candidate], begin: Tell) -> Iterator[Check]:
    said = deployment.status(settings.serving_dir)
    address = str(said.get("address", ""))
    for each in known:
        yield _tried(begin, f"{each.model.name} {each.model.version} is served", lambda: _ask(settings, address, each))  # noqa: B023


def _ask(settings: Settings, address: str, found: Candidate) -> str:
    said, model = deployment.status(settings.serving_dir), found.model
    if not said:
        raise Unavailable(f"no server runs on {settings.serving_dir}; start it: fleetml up, or fleetml deploy")
    now: dict[str, Any] = said["models"].get(model.name, {})
    if now.get("version") != model.version:
        refused = said["refused"].get(model.name, {}).get("error", "")
        raise StepFailed(
            f"the server serves version {now.get('version', 'none')}{': ' if refused else ''}{refused}; deploy again"
        )
    smoke.ask(settings.serving_dir, address, found)
    return f"{address} answers as the graph does"


def _tried(begin: Tell, what: str, check: Callable[[], str]) -> Check:
    begin(what)
    try:
        return Check(what, check())
    except FleetMLError as error:
        return Check(what, failure=str(error))
    except Exception as error:  # a library's: the other checks are made all the same
        return Check(what, failure=f"{type(error).__name__}: {error}")
