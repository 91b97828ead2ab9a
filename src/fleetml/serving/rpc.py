"""What all rpcs have in common: exceptions become status codes, deadlines are read, answers are counted."""

import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc

from fleetml.errors import FleetMLError
from fleetml.serving import errors, metrics
from fleetml.serving.contract import PROBE

log = logging.getLogger(__name__)
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")
_Rpc = Callable[[Any, _Request, Any], Awaitable[_Answer]]
_Stream = Callable[[Any, Any, Any], AsyncIterator[_Answer]]


def answered(rpc: _Rpc[_Request, _Answer]) -> _Rpc[_Request, _Answer]:
    """Turn an rpc's exceptions into status codes, by the one table, and count it."""
    name = rpc.__name__

    @functools.wraps(rpc)
    async def call(self: Any, request: _Request, context: Any) -> _Answer:
        code, said = grpc.StatusCode.OK, ""
        try:
            return await rpc(self, request, context)
        except FleetMLError as error:
            code, said = errors.code(error), errors.told(error)
        except Exception:
            log.exception("%s failed", name)
            code, said = grpc.StatusCode.INTERNAL, "the server failed; its log says why"
        finally:
            metrics.handled("unary", self.SERVICE, name, code.name).inc()
        await context.abort(code, said)
        raise AssertionError("unreachable: abort raises")

    return call


def streamed(rpc: _Stream[_Answer]) -> _Stream[_Answer]:
    """The same of an rpc that answers a stream of requests: it is counted once, when it ends."""
    name = rpc.__name__

    @functools.wraps(rpc)
    async def call(self: Any, requests: Any, context: Any) -> AsyncIterator[_Answer]:
        code, said = grpc.StatusCode.OK, ""
        try:
            async for answer in rpc(self, requests, context):
                yield answer
        except grpc.aio.AbortError:  # an interceptor refused a request
            code = context.code()
            raise
        except FleetMLError as error:
            code, said = errors.code(error), errors.told(error)
        except Exception:
            log.exception("%s failed", name)
            code, said = grpc.StatusCode.INTERNAL, "the server failed; its log says why"
        finally:
            metrics.handled("bidi_stream", self.SERVICE, name, code.name).inc()
        if code is not grpc.StatusCode.OK:
            await context.abort(code, said)

    return call


def expires(context: Any) -> float:
    """Return when an rpc's deadline passes, by the monotonic clock; infinite without one."""
    left = context.time_remaining()
    return float("inf") if left is None else time.monotonic() + left


def probe(context: Any) -> bool:
    """Say whether an rpc is a deploy's own question."""
    return any(key == PROBE for key, _ in context.invocation_metadata() or ())
