"""A deployment read from its document, checked field by field; each fault has its place and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from fleetml.deploy.alerts import METRICS, OPERATORS, Alert
from fleetml.deploy.spec import (
    AUTOSCALING,
    IMAGE,
    KUBERNETES,
    LABEL,
    MODEL,
    NAME,
    OBJECT,
    RESOURCES,
    SERVER,
    TOP,
    VARIABLE,
    WINDOW_MINUTES,
    Autoscaling,
    Deployment,
    Kubernetes,
    Served,
)
from fleetml.errors import InvalidParameter, InvalidPipeline
from fleetml.pipeline import document
from fleetml.pipeline.values import shown
from fleetml.secrets import tells_secret
from fleetml.serving import backends
from fleetml.serving.settings import ServerSettings
from fleetml.workflow import grammar
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.source import naming

Part = TypeVar("Part")


class InvalidDeployment(InvalidWorkflow):
    """A document is no deployment: wrong usage, where a check that fails is not."""

    exit_code = 2


def read(path: Path) -> Deployment:
    """Return the deployment in a file. Raises InvalidParameter where there is none, InvalidDeployment with the place."""
    if not path.is_file():
        raise InvalidParameter(f"a deployment is a YAML or JSON file, {path} {_why_none(path)}")
    try:
        with naming(path):
            return parse(_document(path))
    except InvalidWorkflow as error:
        raise InvalidDeployment(str(error)) from None


def _why_none(path: Path) -> str:
    if path.is_dir():
        return f"is a folder; name the file in it, such as {path / 'deployment.yaml'}"
    return "is not there; correct the name"


def _document(path: Path) -> Any:
    try:
        return document.read(path)
    except InvalidPipeline as error:  # what reads it speaks of IRs
        said = str(error).replace("the IR", "the document").partition("; compile")[0]
        raise InvalidWorkflow(f"{said}; correct it") from None


def parse(document: Any) -> Deployment:
    """Return the deployment of a document. Raises InvalidWorkflow: of each field at its top the first fault, its place and the remedy."""
    found = grammar.mapping(document, TOP, "", ("name", "models"))
    faults: list[str] = []

    def part(read: Callable[..., Part], *given: Any) -> Part | None:
        try:
            return read(*given)
        except InvalidWorkflow as fault:
            faults.append(str(fault))
            return None

    name = part(_name, found)
    target = part(_target, found)
    models = part(_models, found)
    resources = part(_resources, found)
    scaling = part(_autoscaling, found)
    instance = part(_instance, found, scaling)
    environment = part(_environment, found)
    alerts = part(_alerts, found)
    server = part(_server, found)
    cluster = part(_kubernetes, found)
    if server and resources is not None:
        part(_check_backend, server, resources)
    if faults:
        raise InvalidWorkflow("\n".join(faults))
    made: Any = {**(resources or {}), **(instance or {})}
    return Deployment(
        name or "",
        models or (),
        target or "",
        autoscaling=scaling,
        environment=environment or {},
        alerts=alerts or (),
        server=server or ServerSettings(),
        kubernetes=cluster or Kubernetes(),
        **made,
    )


def _name(found: Mapping[str, Any]) -> str:
    return _like(found["name"], "name", NAME, "a name is at most 50 of a-z, 0-9 and -, a letter first")


def _target(found: Mapping[str, Any]) -> str:
    return _like(found.get("target", "production"), "target", LABEL, "a target is a label such as production")


def _check_backend(server: ServerSettings, resources: Mapping[str, Any]) -> None:
    if resources.get("gpu_units", 0) == 0 and server.backend != "cpu":
        raise InvalidWorkflow(
            f"server.backend: {server.backend} needs a GPU, resources.gpu_units is 0; set it to 1 or more, or the backend to cpu"
        )


def _models(found: Mapping[str, Any]) -> tuple[Served, ...]:
    entries = grammar.items(found["models"], "models")
    if not entries:
        raise InvalidWorkflow("models: a deployment serves at least one model, got none; add one")
    made = tuple(_model(entry, f"models[{at}]") for at, entry in enumerate(entries))
    names = [each.name for each in made]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise InvalidWorkflow(f"models[{at}].name: {name!r} stands at models[{names.index(name)}] too; remove one")
    return made


def _model(entry: Any, place: str) -> Served:
    given = grammar.mapping(entry, ("name", "version"), place, ("name",))
    name = _like(given["name"], f"{place}.name", MODEL, "a model's name is letters, digits and any of _.-")
    version = given.get("version", "champion")
    version = str(version) if isinstance(version, int) and not isinstance(version, bool) else version
    return Served(name, _like(version, f"{place}.version", MODEL, "a version is a number such as 7, or an alias"))


def _instance(found: Mapping[str, Any], scaling: Autoscaling | None) -> dict[str, Any]:
    given = grammar.mapping(found.get("instance") or {}, ("type", "count"), "instance")
    made: dict[str, Any] = {"count": _count(given, scaling)}
    if "type" in given:
        made["instance_type"] = _like(given["type"], "instance.type", LABEL, "a type is a label")
    return made


def _count(instance: Mapping[str, Any], scaling: Autoscaling | None) -> int:
    low = scaling.min_replicas if scaling else 1
    count = _within(instance.get("count", low), "instance.count", 1, 10_000)
    if scaling and not scaling.min_replicas <= count <= scaling.max_replicas:
        raise InvalidWorkflow(
            f"instance.count: must lie between min_replicas {scaling.min_replicas} and max_replicas "
            f"{scaling.max_replicas} of autoscaling, got {count}; correct it"
        )
    return int(count)


def _resources(found: Mapping[str, Any]) -> dict[str, Any]:
    given = grammar.mapping(found.get("resources") or {}, RESOURCES, "resources")
    made: dict[str, Any] = {}
    for name, value in given.items():
        place = f"resources.{name}"
        made[name] = grammar.number(value, place, whole=name == "gpu_units")
        if name != "gpu_units" and made[name] < 0.01:
            raise InvalidWorkflow(f"{place}: a server needs some, got {shown(value)}; give 0.01 at least")
    return made


def _autoscaling(found: Mapping[str, Any]) -> Autoscaling | None:
    if found.get("autoscaling") is None:
        return None
    required = ("min_replicas", "max_replicas")
    given = grammar.mapping(found["autoscaling"], AUTOSCALING, "autoscaling", required)
    made = Autoscaling(
        **{name: int(_within(value, f"autoscaling.{name}", *AUTOSCALING[name])) for name, value in given.items()}
    )
    if made.min_replicas > made.max_replicas:
        raise InvalidWorkflow(
            f"autoscaling.min_replicas: {made.min_replicas} is above max_replicas {made.max_replicas}; correct one"
        )
    return made


def _environment(found: Mapping[str, Any]) -> dict[str, str]:
    given = found.get("environment") or {}
    if not isinstance(given, dict):
        raise InvalidWorkflow(f"environment: must be a mapping, got {shown(given)}; write NAME: VALUE")
    made: dict[str, str] = {}
    for name, value in given.items():
        place = f"environment.{name}"
        _like(name, place, VARIABLE, "a variable's name is letters, digits and _")
        if tells_secret(str(name)):
            raise InvalidWorkflow(
                f"{place}: looks like a credential, which no file holds; put it into a Secret of the cluster"
            )
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise InvalidWorkflow(f"{place}: must be a text, got {shown(value)}; quote it")
        made[name] = str(value)
    return made


def _alerts(found: Mapping[str, Any]) -> tuple[Alert, ...]:
    entries = grammar.items(found.get("alerts") or [], "alerts")
    made = tuple(_alert(entry, f"alerts[{at}]") for at, entry in enumerate(entries))
    for at, alert in enumerate(made):
        if alert in made[:at]:
            raise InvalidWorkflow(f"alerts[{at}]: is alerts[{made.index(alert)}] again; remove one")
    return made


def _alert(entry: Any, place: str) -> Alert:
    required = ("metric", "operator", "threshold", "window_minutes")
    given = grammar.mapping(entry, required, place, required)
    for name, known in (("metric", tuple(METRICS)), ("operator", OPERATORS)):
        if given[name] not in known:
            told = grammar.nearest(str(given[name]), known) or f"; known are {', '.join(known)}"
            raise InvalidWorkflow(f"{place}.{name}: must be one of the known, got {shown(given[name])}{told}")
    threshold = grammar.number(given["threshold"], f"{place}.threshold")
    window = int(_within(given["window_minutes"], f"{place}.window_minutes", 1, WINDOW_MINUTES))
    return Alert(given["metric"], given["operator"], float(threshold), window)


def _server(found: Mapping[str, Any]) -> ServerSettings:
    given = dict(grammar.mapping(found.get("server") or {}, (*SERVER, "backend"), "server"))
    if (backend := given.pop("backend", "cpu")) not in backends.NAMES:
        raise InvalidWorkflow(
            f"server.backend: must be one of {', '.join(backends.NAMES)}, got {shown(backend)}; correct it"
        )
    made: dict[str, Any] = {}
    for name, value in given.items():
        low, high, whole = SERVER[name]
        number = _within(value, f"server.{name}", low, high, whole)
        made[name] = int(number) if whole else float(number)
    log = grammar.mapping(found.get("prediction_log") or {}, ("sample_rate",), "prediction_log")
    share = _within(log.get("sample_rate", 1.0), "prediction_log.sample_rate", 0, 1, whole=False)
    return ServerSettings(backend=backend, log_share=float(share), **made)


def _kubernetes(found: Mapping[str, Any]) -> Kubernetes:
    given = grammar.mapping(found.get("kubernetes") or {}, KUBERNETES, "kubernetes")
    for name, value in given.items():
        place = f"kubernetes.{name}"
        if name == "image":
            _like(value, place, IMAGE, "an image is a reference such as registry/fleetml/serving@sha256:…")
        else:
            _like(value, place, OBJECT, "the name of an object of Kubernetes is a-z, 0-9, . and -")
    return Kubernetes(**given)


def _within(value: Any, place: str, low: float, high: float, whole: bool = True) -> float:
    number = grammar.number(value, place, low, whole)
    if number > high:
        raise InvalidWorkflow(f"{place}: must be at most {high:g}, got {shown(value)}; correct it")
    return number


def _like(value: Any, place: str, pattern: str, rule: str) -> str:
    text = grammar.text(value, place)
    if not re.fullmatch(pattern, text):
        raise InvalidWorkflow(f"{place}: {rule}, got {shown(value)}; correct it")
    return text
