"""A model repository for Triton, for fleets of GPU servers: graphs and their ``config.pbtxt``.

    <repository>/<model>/config.pbtxt
    <repository>/<model>/<version>/model.onnx

Fields: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fleetml import atomic
from fleetml.deploy.spec import Deployment
from fleetml.errors import InvalidData

if TYPE_CHECKING:
    from fleetml.serving.backends import Tensor
    from fleetml.serving.model import Model

_TYPES = {
    **{f"{kind}{bits}": f"TYPE_{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{"float16": "TYPE_FP16", "float32": "TYPE_FP32", "float64": "TYPE_FP64"},
    **{"bool": "TYPE_BOOL", "object": "TYPE_STRING"},
}


def config(model: Model, spec: Deployment) -> str:
    """Return the configuration of a model in protobuf's text format.

    Questions are batched where every first axis is free. Raises InvalidData for a version that is no number.
    """
    if not model.version.isdigit() or int(model.version) < 1:
        raise InvalidData(
            f"Triton numbers versions from 1, {model.name} has version {model.version!r}; deploy one of the registry's numbers"
        )
    batch = spec.server.batch_rows if model.batchable else 0
    lines = [
        f"name: {json.dumps(model.name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {batch}",
        *(_tensor("input", each, batch > 0) for each in model.session.inputs),
        *(_tensor("output", each, batch > 0) for each in model.session.outputs),
        f"version_policy {{ specific {{ versions: [ {model.version} ] }} }}",
        f"instance_group [ {{ count: {spec.server.workers}, kind: {'KIND_CPU' if spec.server.backend == 'cpu' else 'KIND_GPU'} }} ]",
    ]
    if batch:
        queue = f"max_queue_size: {spec.server.queued_rows}"
        lines.append(f"dynamic_batching {{ default_queue_policy {{ {queue} }} }}")
    if spec.server.backend == "tensorrt":
        lines.append(
            'optimization { execution_accelerators { gpu_execution_accelerator : [ { name : "tensorrt" } ] } }'
        )
    return "\n".join(lines) + "\n"


def _tensor(what: str, tensor: Tensor, batched: bool) -> str:
    """Without the axis of the batch, as Triton wants it; a free axis is -1."""
    shape = tensor.shape[1:] if batched else tensor.shape
    dims = ", ".join("-1" if size is None else str(size) for size in shape)
    kind = _TYPES[tensor.dtype.name]
    if shape:
        return f"{what} [ {{ name: {json.dumps(tensor.name)}, data_type: {kind}, dims: [ {dims} ] }} ]"
    # a row is a single value: Triton knows no empty shape, so it is a vector of one, reshaped
    return f"{what} [ {{ name: {json.dumps(tensor.name)}, data_type: {kind}, dims: [ 1 ], reshape {{ shape: [ ] }} }} ]"


def write(repository: Path, spec: Deployment, models: Sequence[tuple[Model, Path]]) -> None:
    """Write the repository of (model, its graph's file). Raises InvalidData, OSError."""
    for model, graph in models:
        folder = repository / model.name
        (folder / model.version).mkdir(parents=True)
        (folder / model.version / "model.onnx").write_bytes(graph.read_bytes())
        atomic.write_text(folder / "config.pbtxt", config(model, spec))
