"""GRPCInferenceService."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from fleetml.errors import FleetMLError, InvalidParameter
from fleetml.serving.backends import Array, Arrays
from fleetml.serving.errors import Expired
from fleetml.serving.inference import Inference
from fleetml.serving.oip import datatypes, describe
from fleetml.serving.proto import open_inference_pb2 as messages
from fleetml.serving.proto.open_inference_pb2_grpc import GRPCInferenceServiceServicer
from fleetml.serving.rpc import answered, expires, probe, streamed

SERVICE = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class OpenInference(GRPCInferenceServiceServicer):
    """Answers are raw_output_contents; requests may come either way."""

    SERVICE = SERVICE

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    @answered
    async def ServerLive(self, request: Any, context: Any) -> messages.ServerLiveResponse:
        return messages.ServerLiveResponse(live=True)

    @answered
    async def ServerReady(self, request: Any, context: Any) -> messages.ServerReadyResponse:
        return messages.ServerReadyResponse(ready=self._inference.models.looked)

    @answered
    async def ModelReady(self, request: messages.ModelReadyRequest, context: Any) -> messages.ModelReadyResponse:
        ready = describe.ready(self._inference.models, request.name, request.version)
        return messages.ModelReadyResponse(ready=ready)

    @answered
    async def ServerMetadata(self, request: Any, context: Any) -> messages.ServerMetadataResponse:
        return messages.ServerMetadataResponse(**describe.SERVER)

    @answered
    async def ModelMetadata(
        self, request: messages.ModelMetadataRequest, context: Any
    ) -> messages.ModelMetadataResponse:
        return messages.ModelMetadataResponse(**describe.model(self._inference.models, request.name, request.version))

    @answered
    async def ModelInfer(self, request: messages.ModelInferRequest, context: Any) -> messages.ModelInferResponse:
        return await self._infer(request, context)

    @streamed
    async def ModelStreamInfer(
        self, requests: AsyncIterator[messages.ModelInferRequest], context: Any
    ) -> AsyncIterator[messages.ModelStreamInferResponse]:
        async for request in requests:
            try:
                answer = await self._infer(request, context)
            except Expired:
                raise
            except FleetMLError as error:  # a mistake in one request does not end the stream
                answer = messages.ModelInferResponse(id=request.id, model_name=request.model_name)
                yield messages.ModelStreamInferResponse(error_message=str(error), infer_response=answer)
            else:
                yield messages.ModelStreamInferResponse(infer_response=answer)

    async def _infer(self, request: messages.ModelInferRequest, context: Any) -> messages.ModelInferResponse:
        name = request.model_name
        inputs, vm = parse(request), _vm(request)
        version, key, logged = request.model_version, vm or request.id, "" if vm and probe(context) else vm
        model, outputs = await self._inference.infer(name, version, key, inputs, expires(context), logged)
        response = messages.ModelInferResponse(model_name=name, model_version=model.version, id=request.id)
        for output, array in _wanted(request, outputs):
            response.outputs.add(name=output, datatype=datatypes.NAMES.get(array.dtype, "BYTES"), shape=array.shape)
            response.raw_output_contents.append(datatypes.to_bytes(array))
        return response


def parse(request: messages.ModelInferRequest) -> dict[str, Array]:
    """Return a request's inputs; raw ones are views of it. Raises InvalidParameter for what does not fit together."""
    tensors, raw = request.inputs, request.raw_input_contents
    if raw and len(raw) != len(tensors):
        raise InvalidParameter(
            f"raw_input_contents must have one entry for each of the {len(tensors)} inputs, got {len(raw)}; send all raw or none"
        )
    if not raw:
        return {tensor.name: _values(tensor) for tensor in tensors}
    return {
        tensor.name: datatypes.from_bytes(content, tensor.datatype, tensor.shape, tensor.name)
        for tensor, content in zip(tensors, raw, strict=True)
    }


def _values(tensor: Any) -> Array:
    if tensor.datatype not in _CONTENTS:
        datatypes.dtype(tensor.datatype, tensor.name)
        raise InvalidParameter(
            f"input {tensor.name} of type {tensor.datatype} travels in raw_input_contents only; send it there"
        )
    values: Sequence[object] = getattr(tensor.contents, _CONTENTS[tensor.datatype])
    if tensor.datatype == "BYTES":
        values = [bytes(value).decode("utf-8", "replace") for value in tensor.contents.bytes_contents]
    return datatypes.from_values(values, tensor.datatype, tensor.shape, tensor.name)


def _wanted(request: messages.ModelInferRequest, outputs: Arrays) -> Iterable[tuple[str, Array]]:
    """Return the outputs a request asks for; all where it names none. Raises InvalidParameter for unknown ones."""
    if not request.outputs:
        return outputs.items()
    names = [output.name for output in request.outputs]
    if unknown := sorted(set(names) - set(outputs)):
        raise InvalidParameter(
            f"model {request.model_name} has the outputs {sorted(outputs)}, got {unknown}; ask for these"
        )
    return [(name, outputs[name]) for name in names]


def _vm(request: messages.ModelInferRequest) -> str:
    return str(request.parameters["vm_id"].string_param) if "vm_id" in request.parameters else ""
