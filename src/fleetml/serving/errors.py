"""How the server's errors travel: one table from exceptions to gRPC and HTTP status codes, and back in the client."""

import grpc

from fleetml.access import Unauthenticated
from fleetml.errors import FleetMLError, InvalidParameter, Unavailable

LONGEST = 2000
"""Bytes of an error's text that a caller is told."""


class NotDeployed(Unavailable):
    """No version of the model is loaded, though one was deployed."""


class UnknownModel(NotDeployed):
    """No model of that name, or no such version of it, is deployed."""


class NotImplementedYet(FleetMLError):
    """The rpc is part of the contract, but its model does not exist yet."""


class Overloaded(Unavailable):
    """The server has as much to do as it takes on; ask again later."""


class TooManyRequests(Overloaded):
    """One client asks more than its share; ask more slowly."""


class Expired(Unavailable):
    """The request's deadline passed before it was answered."""


# The first row whose type fits decides; what fits none is INTERNAL and its text stays in the server's log.
_CODES: tuple[tuple[type[FleetMLError], grpc.StatusCode, int], ...] = (
    (InvalidParameter, grpc.StatusCode.INVALID_ARGUMENT, 400),
    (TooManyRequests, grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED, 503),
    (Expired, grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    (UnknownModel, grpc.StatusCode.NOT_FOUND, 404),
    (Unavailable, grpc.StatusCode.UNAVAILABLE, 503),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED, 401),
    (NotImplementedYet, grpc.StatusCode.UNIMPLEMENTED, 501),
    (FleetMLError, grpc.StatusCode.FAILED_PRECONDITION, 422),
)


def code(error: FleetMLError) -> grpc.StatusCode:
    """Return the status code that tells a caller of `error` over gRPC."""
    return next(code for kind, code, _ in _CODES if isinstance(error, kind))


def http_status(error: FleetMLError) -> int:
    """Return the status that tells a caller of `error` over HTTP."""
    return next(status for kind, _, status in _CODES if isinstance(error, kind))


def told(error: FleetMLError) -> str:
    """Return what a caller is told, cut where it repeats at length what the caller sent.

    gRPC carries it in a header of 8 kB, three bytes for one of another script; a longer one reaches the client as another error.
    """
    text = str(error).encode(errors="replace")
    return text.decode() if len(text) <= LONGEST else text[:LONGEST].decode(errors="ignore") + " …"


def error(code: grpc.StatusCode | None, message: str) -> FleetMLError:
    """Return the error a client raises for a status code."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # the client itself says so, too, of a message that is too long
        return Overloaded(message)
    return next((kind(message) for kind, known, _ in _CODES if known is code), FleetMLError(message))
