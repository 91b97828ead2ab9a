"""Does the server answer for a version as the version's own graph does?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import numpy as np

from fleetml.deploy.versions import Candidate
from fleetml.errors import StepFailed, Unavailable
from fleetml.serving import deployment
from fleetml.serving.backends import Array, Tensor
from fleetml.serving.oip import datatypes
from fleetml.serving.proto import open_inference_pb2 as messages
from fleetml.serving.proto.open_inference_pb2_grpc import GRPCInferenceServiceStub

SECONDS = 30.0
TOLERANCE = 1e-3
"""float32 through another batch size; relative to the largest value of the answer."""


def ask(root: Path, address: str, found: Candidate) -> None:
    """Ask the server that watches `root` for one row of zeros by the Open Inference Protocol.

    A graph that takes no zeros is not asked. Raises StepFailed where it answers otherwise than the graph, Unavailable where it does not answer.
    """
    model = found.model
    inputs = {tensor.name: _row(tensor) for tensor in model.session.inputs}
    request = messages.ModelInferRequest(model_name=model.name, model_version=model.version)
    for tensor in model.session.inputs:
        array = inputs[tensor.name]
        request.inputs.add(name=tensor.name, datatype=datatypes.name(tensor), shape=array.shape)
        request.raw_input_contents.append(datatypes.to_bytes(array))
    try:
        own = model.session.run(inputs)
    except Exception:  # a graph that refuses zeros: that the server has loaded it is all that can be seen
        return
    answer = _infer(root, address, request)
    served = dict(zip((each.name for each in answer.outputs), answer.raw_output_contents, strict=True))
    for each in answer.outputs:
        array = datatypes.from_bytes(served[each.name], each.datatype, list(each.shape), each.name)
        if not _same(array, own[each.name]):
            raise StepFailed(
                f"the server must answer for {model.name} {model.version} as its graph does, its {each.name} of a row of zeros "
                "differs; see the server's log"
            )


def _row(tensor: Tensor) -> Array:
    shape = [1 if size is None else size for size in tensor.shape]
    return np.full(shape, "", object) if tensor.dtype == object else np.zeros(shape, tensor.dtype)


def _infer(root: Path, address: str, request: Any) -> Any:
    token = deployment.token(root)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            return GRPCInferenceServiceStub(channel).ModelInfer(
                request, timeout=SECONDS, metadata=metadata, wait_for_ready=True
            )
        except grpc.RpcError as error:
            said = f"{error.code().name}: {error.details()}"
            asked = f"{request.model_name} {request.model_version}"
            kind = Unavailable if error.code() == grpc.StatusCode.UNAVAILABLE else StepFailed
            raise kind(f"the server at {address} must answer for {asked}, it says {said}; see its log") from error


def _same(served: Array, own: Array) -> bool:
    if served.shape != own.shape:
        return False
    if not np.issubdtype(own.dtype, np.floating):
        return bool(np.array_equal(served, own))
    limit = TOLERANCE * max([1.0, *np.abs(own[np.isfinite(own)]).ravel().tolist()])
    return bool(np.allclose(served, own, rtol=0, atol=limit, equal_nan=True))
