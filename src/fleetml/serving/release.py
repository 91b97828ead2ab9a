"""A finished graph of any kind into the registry and the serving folder: what a deployment asks for, recorded with it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter
from fleetml.serving import deployment

LABEL = "fleetml.label"  # tag of a version: what its owner calls it ("v1.2.0")
_SCALING = ("min_replicas", "max_replicas", "target_concurrency", "scale_in_cooldown", "scale_out_cooldown")


@dataclass(frozen=True)
class Deployment:
    """Where a model is to serve and how widely. One machine serves with one process; the figures are recorded."""

    target: str = "production"
    scaling: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Mapping[str, Any], place: str) -> "Deployment":
        """Return ``{"target": …, "scaling_config": {"min_replicas": …, …}}``. Raises InvalidParameter naming `place`."""
        target, scaling = request.get("target", "production"), request.get("scaling_config") or {}
        if not isinstance(target, str) or not target:
            raise InvalidParameter(f"{place}.target must be a name such as production, got {target!r}; correct it")
        if not isinstance(scaling, Mapping):
            raise InvalidParameter(f"{place}.scaling_config must be a mapping, got {scaling!r}; correct it")
        for name, value in scaling.items():
            if name not in _SCALING:
                raise InvalidParameter(f"{place}.scaling_config has {', '.join(_SCALING)}, got {name!r}; remove it")
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise InvalidParameter(f"{place}.scaling_config.{name} must be a whole number from 0, got {value!r}")
        low, high = scaling.get("min_replicas", 1), scaling.get("max_replicas", scaling.get("min_replicas", 1))
        if low > high:
            raise InvalidParameter(
                f"{place}.scaling_config: min_replicas {low} is above max_replicas {high}; correct it"
            )
        return cls(target, dict(scaling))


def check_places(registry: str, serving_dir: str) -> None:
    """Raises ConfigurationError where one of them is not given."""
    for name, value in (("registry", registry), ("serving_dir", serving_dir)):
        if not value:
            raise ConfigurationError(f"a deployment needs {name}, got an empty one; give the parameter {name}")


def refused(graph: Path) -> InvalidData:
    """Return the error of a graph that does not answer as the model that was to be deployed."""
    return InvalidData(f"a deployed graph must answer as its model does, {graph} does not; deploy it again")


def register(
    registry: str,
    name: str,
    graph: Path,
    params: Mapping[str, Any],
    figures: Mapping[str, float],
    lineage: Mapping[str, Any],
    label: str = "",
    datasets: tuple[Mapping[str, Any], ...] = (),
) -> str:
    """Record a graph as a new version of `name` and as its champion; return the version.

    Raises InvalidParameter for a name that is no plain word, Unavailable when the registry does not answer.
    """
    from fleetml.serving.registry import Entry, Registry

    deployment.folder(Path(), name, "1")
    run = str(lineage.get("run_id", ""))
    sha256 = hashlib.sha256(graph.read_bytes()).hexdigest()
    tags = {"fleetml.run_id": run, "fleetml.model_sha256": sha256, **({LABEL: label} if label else {})}
    entry = Entry(
        graph, run or name, params, figures, tags, {**lineage, "model_sha256": sha256, "label": label}, datasets
    )
    return Registry(registry).add(name, entry)


def serve(
    root: Path,
    name: str,
    version: str,
    graph: Path,
    plan: Deployment,
    metadata: Mapping[str, Any],
    check: Callable[[Path], None],
) -> Path:
    """Install a version, let `check` try the installed graph, and point the serving folder at it; return its folder.

    What `check` raises leaves what is served as it is. Raises InvalidParameter (name, version), OSError.
    """
    about = {**metadata, "deployment": asdict(plan)}
    card = deployment.Card(name, version, deployment.digest(graph), None, about)
    folder = deployment.install(root, card, {deployment.GRAPH: graph})
    check(folder / deployment.GRAPH)
    deployment.point(root, name, version)
    return folder
