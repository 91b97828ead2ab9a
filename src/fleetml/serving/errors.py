"""How the server's errors travel: one table from exceptions to gRPC status codes, and back in the client."""

import grpc

from fleetml.errors import FleetMLError, InvalidParameter, Unavailable


class NotDeployed(Unavailable):
    """No version of the model is loaded."""


class NotImplementedYet(FleetMLError):
    """The rpc is part of the contract, but its model does not exist yet."""


# The first row whose type fits decides; what fits none is INTERNAL and its text stays in the server's log.
_CODES: tuple[tuple[type[FleetMLError], grpc.StatusCode], ...] = (
    (InvalidParameter, grpc.StatusCode.INVALID_ARGUMENT),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (NotImplementedYet, grpc.StatusCode.UNIMPLEMENTED),
    (FleetMLError, grpc.StatusCode.FAILED_PRECONDITION),
)


def code(error: FleetMLError) -> grpc.StatusCode:
    """Return the status code that tells a caller of `error`."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def error(code: grpc.StatusCode, message: str) -> FleetMLError:
    """Return the error a client raises for a status code."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unavailable(message)
    return next((kind(message) for kind, known in _CODES if known is code), FleetMLError(message))
