"""Bytes that are no message of the contract are refused by name; gRPC itself would log a traceback and say UNKNOWN."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError


@dataclass(frozen=True, slots=True)
class _Undecodable:
    """What came in place of a message, and why it is none."""

    said: str


class Decoding:
    """Takes the place of `server` in the generated ``add_…_to_server``: their services are added with checked messages.

    And not as registered methods: grpc.aio waits for the next call of each of those apart, and builds that wait anew for
    each call of any.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """The same handlers come by name, too."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        checked = {name: _checked(handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, checked),))


def _checked(handler: Any) -> grpc.RpcMethodHandler:
    coding = (_lenient(handler.request_deserializer), handler.response_serializer)
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary), *coding)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(_unary_stream(handler.unary_stream), *coding)
    if handler.stream_stream:
        return grpc.stream_stream_rpc_method_handler(_stream(handler.stream_stream), *coding)
    raise AssertionError("an rpc takes a stream and gives one answer; let it be checked, too")


def _lenient(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decoded(sent: bytes) -> Any:
        try:
            return decode(sent)
        except DecodeError as error:
            return _Undecodable(f"the request must be a message of the contract, got other bytes ({error}); correct it")

    return decoded


async def _check(request: Any, context: Any) -> None:
    if type(request) is _Undecodable:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, request.said)


def _unary(rpc: Any) -> Any:
    async def checked(request: Any, context: Any) -> Any:
        await _check(request, context)
        return await rpc(request, context)

    return checked


def _unary_stream(rpc: Any) -> Any:
    async def checked(request: Any, context: Any) -> Any:
        await _check(request, context)
        await rpc(request, context)  # writes its answers to the context

    return checked


def _stream(rpc: Any) -> Any:
    async def sound(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            await _check(request, context)
            yield request

    async def checked(requests: AsyncIterator[Any], context: Any) -> Any:
        async for answer in rpc(sound(requests, context), context):
            yield answer

    return checked
