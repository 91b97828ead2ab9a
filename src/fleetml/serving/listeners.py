"""The gRPC server: address, TLS, limits, who gets in."""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from fleetml.access import Access
from fleetml.errors import FleetMLError, Unavailable
from fleetml.serving import errors
from fleetml.serving.admission import Admission
from fleetml.serving.contract import MESSAGE_BYTES
from fleetml.serving.options import Options

_OPEN = "/grpc.health.v1.Health/"


def grpc_server(admission: Admission, shared: bool, connections: int) -> grpc.aio.Server:
    """Return a server without services, for so many `connections`. `shared`: other processes listen on its port, too."""
    options = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.so_reuseport", int(shared)),  # else a second server on the port would take half of the requests
        ("grpc.max_concurrent_streams", 10_000),
        ("grpc.max_allowed_incoming_connections", connections),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]
    return grpc.aio.server(options=options, interceptors=[] if admission.open else [_Gate(admission)])


def bind_grpc(server: grpc.aio.Server, options: Options) -> int:
    """Return the port. Raises Unavailable where it is taken, ConfigurationError for a certificate that is none."""
    address = f"{options.host}:{options.port}"
    credentials = _credentials(options.access)
    try:
        return server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError as error:
        raise taken(options.host, options.port, "port") from error


def bind_http(options: Options, grpc_port: int, shared: bool) -> socket.socket:
    """Return a socket on the HTTP port: the given one, else the one after gRPC's, else any free one. Raises Unavailable."""
    wanted = grpc_port + 1 if options.http_port is None else options.http_port
    try:
        return _bind(options.host, wanted, shared)
    except OSError as error:
        if options.http_port is not None or shared:
            raise taken(options.host, wanted, "http-port") from error
    return _bind(options.host, 0, shared)


def reserve(host: str, port: int, option: str) -> tuple[int, socket.socket]:
    """Return a port nobody listens on, and a socket that keeps it for processes that share it. Raises Unavailable."""
    try:
        with _bind(host, port, shared=False) as alone:
            port = alone.getsockname()[1]
        return port, _bind(host, port, shared=True)
    except OSError as error:
        raise taken(host, port, option) from error


def taken(host: str, port: int, option: str) -> Unavailable:
    """Return the error of a port that is not to be had."""
    return Unavailable(
        f"the server needs {host}:{port} for itself, and it is taken or not this machine's; "
        f"end what listens there or choose another --{option} (0: any free one)"
    )


def _bind(host: str, port: int, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host.strip("[]"), port))
    except OSError:
        listener.close()
        raise
    return listener


def _credentials(access: Access) -> grpc.ServerCredentials | None:
    context = access.context()  # gRPC itself tells of a wrong file only when a client comes
    if context is None or access.certificate is None or access.key is None:
        return None
    return grpc.ssl_server_credentials([(access.key.read_bytes(), access.certificate.read_bytes())])


class _Gate(grpc.aio.ServerInterceptor):
    """Asks `admission` before an rpc, and before each further request of a stream; health checks pass."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(details)
        if handler is None or details.method.startswith(_OPEN):
            return handler
        coding = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary), *coding)
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(self._stream(handler.stream_stream), *coding)
        raise AssertionError(f"{details.method} takes or gives a stream; let it be checked, too")

    def _admit(self, context: Any) -> None:
        sent = dict(context.invocation_metadata() or ()).get("authorization", "")
        self._admission.admit(str(sent), context.peer().rpartition(":")[0])

    def _unary(self, rpc: Any) -> Any:
        async def checked(request: Any, context: Any) -> Any:
            try:
                self._admit(context)
            except FleetMLError as error:
                await context.abort(errors.code(error), errors.told(error))
            return await rpc(request, context)

        return checked

    def _stream(self, rpc: Any) -> Any:
        async def checked(requests: Any, context: Any) -> Any:
            try:
                self._admit(context)  # for its first request: who may not ask is not to hold a stream either
                async for answer in rpc(admitted(requests, context), context):
                    yield answer
            except FleetMLError as error:
                await context.abort(errors.code(error), errors.told(error))

        async def admitted(requests: Any, context: Any) -> Any:
            first = True
            async for request in requests:
                if not first:
                    self._admit(context)
                first = False
                yield request

        return checked
