"""Bring one version into service: install, point, ask over gRPC, and go back if anything is wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.deploy import beside, scoring, smoke
from components.deploy.trials import Forecasts
from fleetml.component import Artifact
from fleetml.data.schema import aside
from fleetml.errors import ConfigurationError, InvalidData
from fleetml.learn import metrics as errors
from fleetml.learn import windows
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.windows import Windows
from fleetml.serving import aliases, deployment, features
from fleetml.serving.deployment import Card
from fleetml.serving.registry import Registry
from fleetml.serving.rollout import actions
from fleetml.serving.rollout.actions import Place
from fleetml.stack.interrupts import interruptible

REFERENCE_ROWS = 20_000
"""Training windows kept at most for the monitor to compare with; evenly spread over the table when there are more."""


def deploy(
    model: Artifact,
    test: Artifact,
    train: Artifact,
    metrics: Artifact,
    model_name: str,
    version: str,
    serving_dir: str,
    address: str,
    registry: str,
    rollout: str = "",
    shorter_horizon: bool = False,
) -> dict[str, Any]:
    """Serve `version`; return where.

    With a `rollout` (canary, ab, shadow) it is tried beside the version that is served, if another is. Else it is served at
    once: with an `address` its server must load the version and answer a test window as the graph itself does; else
    what was served before is served again, the registry's title goes back with it, and the step fails. Without one
    a server of the step's own is asked before the serving folder points at the version.
    Raises InvalidParameter for one that forecasts less far than the served one, unless `shorter_horizon`; InvalidData
    for a version that does not fit, Unavailable when the server does not answer.
    """
    if not serving_dir or not version:
        raise ConfigurationError(
            f"deploy needs serving_dir and version, got {serving_dir!r} and {version!r}; give both"
        )
    place = Place(Path(serving_dir), registry, "deploy", shorter_horizon)
    served = deployment.read(place.root).get(model_name)
    trial = rollout if served and served.version != version else ""
    if registry and not trial:  # an earlier attempt that failed took the title away
        Registry(registry).promote(model_name, version)
    with interruptible():  # a step that is stopped half-way takes back what it changed, too
        try:
            figures, endpoint = _deploy(model, test, train, model_name, version, place, address, trial)
        except BaseException as error:
            if registry:
                _demote(place, model_name, version, error)
            raise
    metrics.log(**figures)
    return {"endpoint": endpoint}


def _deploy(
    model: Artifact, test: Artifact, train: Artifact, name: str, version: str, place: Place, address: str, rollout: str
) -> tuple[dict[str, Any], str]:
    kind = model.metadata.get("kind", "forecaster")
    install = _forecaster if kind == "forecaster" else scoring.install
    card, trial = install(place.root, name, version, model, test, train)
    found = beside.begin(place, card, trial, address, rollout) if rollout else _at_once(place, card, trial, address)
    endpoint = address or f"not running; start it: python -m fleetml.serving --dir {place.root}"
    known = {"held_out_mase": card.mase or "unknown"} if kind == "forecaster" else {}
    return {**found, "confidence": card.confidence, **known, "version": version}, endpoint


def _forecaster(
    root: Path, name: str, version: str, model: Artifact, test: Artifact, train: Artifact
) -> tuple[Card, smoke.Trial]:
    """Install a forecaster with what live traffic is compared with; return what it is to be asked."""
    held_out = windows.load(test.path)
    forecaster = Forecaster(model.path)
    if forecaster.meta.target != name:
        raise InvalidData(
            f"model {name} must forecast {name}, got a graph that forecasts {forecaster.meta.target}; "
            "give the model the name of its target"
        )
    card = Card(name, version, deployment.digest(model.path), held_out_mase(forecaster, held_out), model.metadata)
    folder = deployment.install(root, card, {deployment.GRAPH: model.path})
    write_reference(windows.load(train.path), forecaster, folder / deployment.REFERENCE)
    return card, Forecasts(forecaster, held_out)


def _at_once(place: Place, card: Card, trial: smoke.Trial, address: str) -> dict[str, Any]:
    """Serve a version alone; return what the smoke test measured."""
    found = {} if address else smoke.alone(place.root, card, trial)
    own = replace(place, registry="")  # `deploy` tells the registry, before and after
    with actions.on_trial(own, card.name, card.version, "deployed at once"):
        return smoke.live(place.root, address, card, trial) if address else found


def _demote(place: Place, name: str, version: str, cause: BaseException) -> None:
    """Let the champion be what is served again, the challenger what is tried; a registry that does not answer must not
    hide the cause.
    """
    try:
        Registry(place.registry).demote(name, version)
        tried = aliases.of(deployment.read(place.root).get(name))[aliases.CHALLENGER]
        aliases.assign(place.registry, name, {aliases.CHALLENGER: tried})
    except Exception as error:  # MLflow's own, too
        cause.add_note(f"the registry still calls version {version} the champion or challenger: {error}")


def held_out_mase(forecaster: Forecaster, held_out: Windows) -> float | None:
    """Return the MASE on the test windows; None where none of them can be scored."""
    found = errors.mase(held_out, forecaster.forecast(held_out))
    return None if np.isnan(found) else found


def write_reference(train: Windows, forecaster: Forecaster, path: Path) -> None:
    """Write what live traffic is compared with: vm_id, origin and features of the training windows, and the forecasts of them."""
    if len(train) > REFERENCE_ROWS:
        train = train[np.linspace(0, len(train) - 1, REFERENCE_ROWS).astype(np.intp)]
    made = features.values(train.history, train.covariates)
    table = {
        "vm_id": pa.array(train.vm_id.tolist(), pa.string()),
        "origin": pa.array(train.origin.astype("datetime64[us]"), pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
        **dict(zip(features.columns(train.meta.covariates), made.T, strict=True)),
        features.FORECAST: forecaster.forecast(train)[:, 0].astype(np.float64),
    }
    with aside(path) as temporary:
        pq.write_table(pa.table(table), temporary, compression="zstd")
