"""The client package as FleetML itself uses it: its errors are FleetML's own."""

from dataclasses import dataclass
from typing import TypeVar

import fleetml_client
from fleetml.serving import errors
from fleetml.serving.backends import Arrays
from fleetml.serving.oip import datatypes
from fleetml.serving.proto import open_inference_pb2 as messages
from fleetml_client import Node
from fleetml_client.calls import Call

__all__ = ["Client", "Node", "Tensors"]
_T = TypeVar("_T")
_INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Tensors:
    """What a graph answered, and which version's it is."""

    model_version: str
    outputs: Arrays


class Client(fleetml_client.Client):
    """As `fleetml_client.Client`, but its methods raise what the server meant: InvalidParameter, Unavailable (also when
    nobody answers), NotImplementedYet.
    """

    def infer(self, model: str, inputs: Arrays, vm_id: str = "") -> Tensors:
        """Ask the Open Inference Protocol's ModelInfer: raw tensors for a graph of any kind.

        Raises InvalidParameter for an array of a type that the protocol does not have.
        """
        request = messages.ModelInferRequest(model_name=model)
        for name, array in inputs.items():
            request.inputs.add(name=name, datatype=datatypes.of(array, name), shape=array.shape)
            request.raw_input_contents.append(datatypes.to_bytes(array))
        if vm_id:
            request.parameters["vm_id"].string_param = vm_id
        return self._ask(Call(_INFER, request, messages.ModelInferResponse.FromString, _tensors))

    def _ask(self, call: Call[_T]) -> _T:
        try:
            return super()._ask(call)
        except fleetml_client.Error as error:
            raise errors.error(error.code, str(error)) from error


def _tensors(answer: messages.ModelInferResponse) -> Tensors:
    outputs = {
        output.name: datatypes.from_bytes(content, output.datatype, output.shape, output.name)
        for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }
    return Tensors(answer.model_version, outputs)
