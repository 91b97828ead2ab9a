"""The versions that a deployment names: found in the registry, fetched where the serving folder lacks them, loaded and tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleetml.deploy.spec import Deployment, Served
from fleetml.errors import ConfigurationError, FleetMLError, InvalidData
from fleetml.serving import aliases, backends, deployment, model, provenance
from fleetml.serving.catalogue import no_model
from fleetml.serving.deployment import GRAPH, REFERENCE, Card
from fleetml.serving.model import Model
from fleetml.settings import Settings


@dataclass(frozen=True)
class Candidate:
    """A version that loads, and answered its kind's own question. `graph` is its file; `installed`: in the serving folder."""

    model: Model
    graph: Path
    installed: bool


def number(settings: Settings, served: Served) -> str:
    """Return the version that a deployment means. Raises ConfigurationError where the registry has none, Unavailable."""
    if served.version.isdigit():
        return served.version
    known = aliases.read(settings.registry, served.name)
    if not known and (said := no_model(settings.registry, served.name)):
        raise ConfigurationError(said)
    if served.version not in known:
        said = ", ".join(f"{alias} ({version})" for alias, version in sorted(known.items())) or "none"
        raise ConfigurationError(
            f"the registry {settings.registry} must know what {served.name} calls {served.version!r}, it knows the aliases: "
            f"{said}; train the model, or name one of them"
        )
    return known[served.version]


def candidate(settings: Settings, name: str, version: str, scratch: Path) -> Candidate:
    """Return a version, its graph in the serving folder, else fetched into `scratch`.

    Raises ConfigurationError for one that the registry does not know, InvalidData for one whose graph is not what was
    registered, InvalidGraph for one that does not serve as this model, Unavailable.
    """
    wanted = provenance.tags_of(settings.registry, name, version).get("fleetml.model_sha256", "")
    graph = deployment.folder(settings.serving_dir, name, version) / GRAPH
    installed = graph.is_file() and deployment.digest(graph) == (wanted or deployment.digest(graph))
    if not installed:
        graph = _fetched(settings.registry, name, version, scratch)
    found = deployment.digest(graph)
    if wanted and found != wanted:
        raise InvalidData(
            f"the graph of {name} {version} must have SHA-256 {wanted}, as it was registered, the registry's file has {found}; "
            "register the model again"
        )
    served = deployment.Deployed(version, str(graph.absolute()), found)
    return Candidate(model.load(settings.serving_dir, name, served, backends.choose("cpu")), graph, installed)


def candidates(settings: Settings, spec: Deployment, scratch: Path) -> Iterator[Candidate]:
    """Yield the version of every model; raises as `number` and `candidate` do."""
    for at, served in enumerate(spec.models):
        try:
            wanted = number(settings, served)
        except ConfigurationError as error:
            raise ConfigurationError(f"models[{at}]: {error}") from error
        yield candidate(settings, served.name, wanted, scratch)


def install(root: Path, found: Candidate) -> None:
    """Put a version into the serving folder, if it is not there. Raises OSError."""
    if found.installed:
        return
    files = {GRAPH: found.graph}
    reference = deployment.folder(root, found.model.name, found.model.version) / REFERENCE
    if reference.is_file():  # the graph beside it was not what was registered
        files[REFERENCE] = reference
    deployment.install(root, Card(found.model.name, found.model.version, found.model.sha256), files)


def _fetched(registry: str, name: str, version: str, scratch: Path) -> Path:
    from fleetml.serving.registry import Registry

    graph = scratch / f"{name}-{version}.onnx"
    try:
        Registry(registry).fetch(name, version, graph)
    except FleetMLError:
        raise
    except Exception as error:  # MLflow's own, by where the artifact lies
        raise InvalidData(
            f"the registry must hold the graph of {name} {version}, it says: {error}; register the model again"
        ) from error
    return graph
