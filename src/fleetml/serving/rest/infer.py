"""An inference request of the protocol over HTTP: JSON, or JSON with raw tensors behind it (binary tensor extension)."""

from collections.abc import Iterator, Sequence
from typing import Any

from fleetml.errors import InvalidParameter
from fleetml.serving.backends import Array, Arrays
from fleetml.serving.inference import Inference
from fleetml.serving.oip import datatypes
from fleetml.serving.rest import messages
from fleetml.serving.rest.messages import Infer, Tensor

LENGTH = b"inference-header-content-length"
"""Header: how much of the body is JSON, where raw tensors follow."""


async def infer(
    inference: Inference,
    name: str,
    version: str,
    body: bytes,
    header: bytes | None,
    expires: float,
    probe: bool = False,
) -> tuple[bytes, int | None]:
    """Return the body of the answer, and how much of it is JSON where raw tensors follow. A `probe` is not logged.

    Raises NotDeployed, InvalidParameter, Overloaded, Expired.
    """
    request, inputs = parse(body, header)
    given = request.parameters.get("vm_id")
    vm = given if isinstance(given, str) else ""
    model, outputs = await inference.infer(name, version, vm or request.id, inputs, expires, "" if probe else vm)
    answer: dict[str, Any] = {"model_name": name, "model_version": model.version}
    if request.id:
        answer["id"] = request.id
    answer["outputs"], raw = _outputs(request, outputs)
    told = messages.encode(answer)
    return (b"".join([told, *raw]), len(told)) if raw else (told, None)


def parse(body: bytes, header: bytes | None) -> tuple[Infer, dict[str, Array]]:
    """Return a request and its inputs; raw ones are views of `body`. Raises InvalidParameter for whatever is no request."""
    split = _split(body, header)
    request = messages.decode(messages.INFER, memoryview(body)[:split])
    return request, dict(_inputs(request.inputs, memoryview(body)[split:]))


def _split(body: bytes, header: bytes | None) -> int:
    if header is None:
        return len(body)
    if not header.isdigit() or len(header) > 12 or int(header) > len(body):
        raise InvalidParameter(
            f"{LENGTH.decode()} must be the length of the JSON, from 0 to {len(body)}, got {header[:20]!r}; correct it"
        )
    return int(header)


def _inputs(tensors: Sequence[Tensor], raw: memoryview) -> Iterator[tuple[str, Array]]:
    at = 0
    for tensor in tensors:
        if (data := tensor.data) is not None:
            yield tensor.name, datatypes.from_values(_flat(data), tensor.datatype, tensor.shape, tensor.name)
            continue
        size = tensor.parameters.get("binary_data_size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(raw) - at:
            raise InvalidParameter(
                f"input {tensor.name} must have data, or a binary_data_size of at most the {len(raw) - at} bytes that follow "
                f"the JSON, got {size!r}; send one of them"
            )
        yield tensor.name, datatypes.from_bytes(raw[at : at + size], tensor.datatype, tensor.shape, tensor.name)
        at += size
    if at != len(raw):
        raise InvalidParameter(
            f"{len(raw) - at} bytes behind the JSON belong to no input; give each its binary_data_size"
        )


def _flat(data: list[Any]) -> list[Any]:
    """Nested rows as one list."""
    while data and isinstance(data[0], list):
        if not all(isinstance(row, list) for row in data):
            raise InvalidParameter("data must be nested to one depth throughout, got rows beside values; correct it")
        data = [value for row in data for value in row]
    return data


def _outputs(request: Infer, outputs: Arrays) -> tuple[list[dict[str, Any]], list[bytes]]:
    asked = {output.name: output.parameters for output in request.outputs} or {name: {} for name in outputs}
    if unknown := sorted(set(asked) - set(outputs)):
        raise InvalidParameter(f"this model has the outputs {sorted(outputs)}, got {unknown}; ask for these")
    binary = bool(request.parameters.get("binary_data_output", False))
    told: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name, parameters in asked.items():
        array = outputs[name]
        entry: dict[str, Any] = {
            "name": name,
            "datatype": datatypes.NAMES.get(array.dtype, "BYTES"),
            "shape": list(array.shape),
        }
        if parameters.get("binary_data", binary):
            raw.append(datatypes.to_bytes(array))
            entry["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            entry["data"] = array.ravel().tolist()
        told.append(entry)
    return told, raw
