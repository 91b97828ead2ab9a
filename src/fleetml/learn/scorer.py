"""Graphs that score rows, of the kinds placement, anomaly and window_anomaly: stamped, checked, described, timed (docs/adr/0010)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from fleetml.atomic import aside
from fleetml.component import Artifact
from fleetml.learn.builder import IR_VERSION
from fleetml.learn.graph import InvalidGraph

if TYPE_CHECKING:
    import onnxruntime as ort

_PREFIX = "fleetml."
_OWN = ("kind", "family", "hyperparameters")


@dataclass(frozen=True)
class Description:
    """What a graph says of itself; `about` is of its kind: names of columns, thresholds (values that JSON holds)."""

    kind: str
    family: str
    hyperparameters: Mapping[str, Any]
    about: Mapping[str, Any]


def finish(
    model: onnx.ModelProto, kind: str, family: str, about: Mapping[str, Any], hyperparameters: Mapping[str, Any]
) -> onnx.ModelProto:
    """Stamp a graph with what it is, check it and try it on rows of zeros and of large numbers. Raises InvalidGraph."""
    from fleetml.learn.forecaster import session

    model.ir_version = min(model.ir_version, IR_VERSION)
    said = {"kind": kind, "family": family, "hyperparameters": json.dumps(dict(hyperparameters))}
    said |= {key: json.dumps(value) for key, value in about.items()}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {_PREFIX + key: value for key, value in said.items()})
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InvalidGraph(f"graph of family {family!r} is not valid ONNX: {error}; fix its export") from error
    smoke(session(model.SerializeToString()))
    return model


def smoke(loaded: ort.InferenceSession) -> None:
    """Raises InvalidGraph for a graph that fails, or whose scores are not finite numbers, one a row."""
    taken = loaded.get_inputs()[0]
    for rows in (1, 3):
        for value in (0.0, 1e6):
            try:
                score = loaded.run(["score"], {taken.name: np.full((rows, *taken.shape[1:]), value, np.float32)})[0]
            except Exception as error:  # ONNX Runtime's errors share no public base
                raise InvalidGraph(f"a graph that scores must run, got {error}; fix its export") from error
            if score.shape != (rows, 1) or not np.isfinite(score).all():
                raise InvalidGraph(
                    f"score must be finite and of shape {(rows, 1)}, got {score.tolist()} for rows of {value}; fix the graph"
                )


def described(loaded: ort.InferenceSession) -> Description:
    """Return what a loaded graph says of itself. Raises InvalidGraph."""
    return describe(loaded.get_modelmeta().custom_metadata_map)


def describe(metadata: Mapping[str, str]) -> Description:
    """Return what a graph's ``metadata_props`` say. Raises InvalidGraph."""
    said = {key.removeprefix(_PREFIX): value for key, value in metadata.items() if key.startswith(_PREFIX)}
    try:
        about = {key: json.loads(value) for key, value in said.items() if key not in _OWN}
        return Description(said["kind"], said["family"], json.loads(said["hyperparameters"]), about)
    except (KeyError, ValueError) as error:
        raise InvalidGraph(
            f"a graph that scores must carry fleetml.* metadata, got {sorted(said)} ({error}); "
            "pass the model through fleetml.learn.scorer.finish"
        ) from error


def family(graph: bytes) -> str:
    """Return the family that a graph says it is of. Raises InvalidGraph."""
    return describe({prop.key: prop.value for prop in onnx.load_from_string(graph).metadata_props}).family


def publish(model: bytes, artifact: Artifact, **metadata: Any) -> None:
    """Write a finished graph as a Model artifact with kind, family, hyperparameters, size_bytes and `metadata`."""
    with aside(artifact.path) as temporary:
        temporary.write_bytes(model)
    said = describe({prop.key: prop.value for prop in onnx.load_from_string(model).metadata_props})
    hyperparameters = dict(said.hyperparameters)
    artifact.metadata.update(
        kind=said.kind, family=said.family, hyperparameters=hyperparameters, size_bytes=len(model), **metadata
    )


def latency(graph: Path | bytes, runs: int = 200, warmup: int = 20) -> tuple[float, float]:
    """Return p50 and p99, in ms, of one row on one thread of this machine."""
    from fleetml.learn.forecaster import session

    loaded = session(graph)
    taken = loaded.get_inputs()[0]
    row = {taken.name: np.ones((1, *taken.shape[1:]), np.float32)}
    spent = np.empty(runs)
    for run in range(-warmup, runs):
        start = time.perf_counter()
        loaded.run(None, row)
        if run >= 0:
            spent[run] = time.perf_counter() - start
    p50, p99 = np.percentile(spent * 1e3, (50, 99))
    return float(p50), float(p99)
