"""A forecaster is one ONNX graph: its inputs, output and metadata are made and checked here (docs/adr/0002)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from fleetml.atomic import aside
from fleetml.component import Artifact
from fleetml.errors import FleetMLError
from fleetml.learn.builder import IR_VERSION, OPSET
from fleetml.learn.windows import Meta

_PREFIX = "fleetml."
# The newest that ONNX Runtime 1.27 loads.
_NEWEST = {"": 23, "ai.onnx.ml": 5}


class InvalidGraph(FleetMLError):
    """An ONNX graph does not keep the contract of a forecaster."""


@dataclass(frozen=True)
class Description:
    """What a forecaster graph says about itself in its ``metadata_props``; `quantiles` are the levels of its second output."""

    meta: Meta
    family: str
    hyperparameters: dict[str, Any]
    quantiles: tuple[float, ...] = ()


def describe(model: onnx.ModelProto) -> Description:
    """Return a graph's own description. Raises InvalidGraph when it has none."""
    entries = {p.key.removeprefix(_PREFIX): p.value for p in model.metadata_props if p.key.startswith(_PREFIX)}
    return decode(entries)


def decode(entries: Mapping[str, str]) -> Description:
    """Return the description held in metadata entries, keys without ``fleetml.``; raises InvalidGraph."""
    try:
        levels = tuple(float(level) for level in json.loads(entries.get("quantiles", "[]")))
        hyperparameters = json.loads(entries["hyperparameters"])
        return Description(Meta.decode(dict(entries)), entries["family"], hyperparameters, levels)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidGraph(
            f"a forecaster graph must carry fleetml.* metadata, got {sorted(entries)} ({error}); "
            "pass the model through fleetml.learn.graph.finish"
        ) from error


def finish(
    model: onnx.ModelProto,
    meta: Meta,
    family: str,
    hyperparameters: Mapping[str, Any] | None = None,
    quantiles: Sequence[float] = (),
) -> onnx.ModelProto:
    """Stamp, check and try a forecaster graph; return it. `quantiles` are the levels of its second output, if it has one.

    Sets the ``metadata_props``, checks inputs, output, opset and IR version against the contract, runs onnx's checker
    and a smoke test through ONNX Runtime (zeros, a burst, absent covariates). Raises InvalidGraph.
    """
    from fleetml.learn.forecaster import smoke

    model.ir_version = min(model.ir_version, IR_VERSION)
    entries = {**meta.encode(), "family": family, "hyperparameters": json.dumps(dict(hyperparameters or {}))}
    if quantiles:
        entries["quantiles"] = json.dumps(list(quantiles))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {_PREFIX + key: value for key, value in entries.items()})
    check(model)
    smoke(model.SerializeToString(), meta)
    return model


def check(model: onnx.ModelProto) -> Description:
    """Check a graph against the contract without running it; return its description. Raises InvalidGraph."""
    found = describe(model)
    meta = found.meta
    _check_tensors("inputs", model.graph.input, {"history": (meta.context,), "covariates": (len(meta.covariates),)})
    wanted: dict[str, tuple[int, ...]] = {"forecast": (meta.horizon,)}
    if levels := found.quantiles:
        _check_levels(levels, found.family)
        wanted["quantiles"] = (meta.horizon, len(levels))
    _check_tensors("output", model.graph.output, wanted)
    for opset in model.opset_import:
        newest = _NEWEST.get(opset.domain or "")
        if newest is not None and opset.version > newest:
            raise InvalidGraph(
                f"opset of {opset.domain or 'ai.onnx'} must be at most {newest}, got {opset.version} in family "
                f"{found.family!r}; export with opset {OPSET}"
            )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InvalidGraph(f"graph of family {found.family!r} is not valid ONNX: {error}; fix its export") from error
    return found


def _check_levels(levels: Sequence[float], family: str) -> None:
    rising = all(low < high for low, high in pairwise(levels))
    if not (rising and levels[0] > 0 and levels[-1] < 1 and 0.5 in levels):
        raise InvalidGraph(
            f"fleetml.quantiles must rise between 0 and 1 and hold 0.5, got {list(levels)} in family {family!r}; "
            "give such levels to fleetml.learn.graph.finish"
        )


def _check_tensors(what: str, infos: Any, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Each tensor must be float32 [batch, ...] under its own name, batch being free."""
    found = {info.name: info.type.tensor_type for info in infos}
    right = list(found) == list(wanted) and all(
        tensor.elem_type == TensorProto.FLOAT
        and bool(tensor.shape.dim)
        and not tensor.shape.dim[0].HasField("dim_value")
        and tuple(dim.dim_value for dim in list(tensor.shape.dim)[1:]) == wanted[name]
        for name, tensor in found.items()
    )
    if not right:
        got = {name: [dim.dim_param or dim.dim_value for dim in tensor.shape.dim] for name, tensor in found.items()}
        raise InvalidGraph(
            f"{what} of a forecaster graph must be float32 { ({k: ['batch', *v] for k, v in wanted.items()}) }, got {got}; "
            "name and shape them so at export"
        )


def load(path: Path) -> onnx.ModelProto:
    """Read a forecaster graph and check it. Raises InvalidGraph for what is none."""
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's and onnx's own errors share no base
        raise InvalidGraph(f"{path} must be an ONNX file, got {error}; train the model again") from error
    check(model)
    return model


def publish(model: onnx.ModelProto, artifact: Artifact, **metadata: Any) -> None:
    """Write a finished graph as a Model artifact with its metadata: family, hyperparameters, size_bytes and yours.

    Give `validation_mase` where it is known.
    """
    content = model.SerializeToString()
    with aside(artifact.path) as temporary:
        temporary.write_bytes(content)
    found = describe(model)
    artifact.metadata.update(
        family=found.family, hyperparameters=found.hyperparameters, size_bytes=len(content), **metadata
    )
