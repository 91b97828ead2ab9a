"""What a call can end with, by the server's status code."""

import grpc


class Error(Exception):
    """The base of all. `code`: the status of the call; None: the question was never sent."""

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.code = code


class InvalidQuestion(Error):
    """The question breaks a rule of the contract; the message states it."""


class UnknownModel(Error):
    """No model of that name is deployed."""


class Unavailable(Error):
    """Nobody answers, or the model is not loaded, and did not become so while it was tried again."""


class Overloaded(Error):
    """The server has too much to do, this client asks too often, or the message is too long."""


class DeadlineExceeded(Error):
    """There was no answer in time."""


class Denied(Error):
    """The token is missing, wrong or ended."""


class Failed(Error):
    """The server could not answer for another reason."""


_KINDS: dict[grpc.StatusCode, type[Error]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidQuestion,
    grpc.StatusCode.NOT_FOUND: UnknownModel,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAUTHENTICATED: Denied,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
}


def of(code: grpc.StatusCode, message: str) -> Error:
    """Return the error of a status code."""
    return _KINDS.get(code, Failed)(message, code)
