"""What the protocol tells of server and models, the same over gRPC and REST."""

from collections.abc import Mapping
from typing import Any

from fleetml import __version__
from fleetml.serving.backends import Tensor
from fleetml.serving.errors import NotDeployed
from fleetml.serving.models import Models
from fleetml.serving.oip import datatypes

SERVER: Mapping[str, Any] = {
    "name": "fleetml",
    "version": __version__,
    "extensions": ["binary_tensor_data", "model_stream_infer"],
}


def model(models: Models, name: str, version: str) -> dict[str, Any]:
    """Return name, versions, platform, inputs and outputs. Raises NotDeployed."""
    known = models.version(name, version)
    return {
        "name": name,
        "versions": models.versions(name),
        "platform": "onnx_onnxv1",
        "inputs": [_tensor(tensor) for tensor in known.session.inputs],
        "outputs": [_tensor(tensor) for tensor in known.session.outputs],
    }


def ready(models: Models, name: str, version: str) -> bool:
    """Say whether a model, or that version of it, is loaded."""
    try:
        models.version(name, version)
    except NotDeployed:
        return False
    return True


def _tensor(tensor: Tensor) -> dict[str, Any]:
    shape = [-1 if size is None else size for size in tensor.shape]
    return {"name": tensor.name, "datatype": datatypes.name(tensor), "shape": shape}
