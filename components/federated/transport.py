"""How who asks a link waits for it, asks again and proves who he is; what its refusals mean. Of nodes and the grid alike."""

from __future__ import annotations

import threading
import time

import httpx
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.retry import RetryInvoker, exponential

from fleetml.errors import ConfigurationError, FleetMLError, Unavailable

PULL_SECONDS = 30.0
"""How long an answer may be on its way once the link knows of it: its sender may have died over it."""
REFUSED = (401, 403)
"""What a link answers to who does not prove who he is, or of a run that it has lost."""
_AWAY = (502, 503, 504)
_NOT_ADMITTED = 412


def pause(since: float, share: float = 0.1) -> float:
    """Return the seconds to the next question where nothing was heard since `since`: a share of it, so that rounds wait little
    and the link is asked seldom; at least 0.05, at most 3."""
    return min(max((time.monotonic() - since) * share, 0.05), 3.0)


def retries(patience: float | None, ended: threading.Event | None = None) -> RetryInvoker:
    """Return what asks again while the link is away, until `ended` (None: for ever), and passes on what it says.

    A certificate that does not hold is no absence.
    """
    stop = ended or threading.Event()

    def wait(seconds: float) -> None:
        stop.wait(seconds)

    return RetryInvoker(
        wait_gen_factory=lambda: exponential(base_delay=0.1, max_delay=2),
        recoverable_exceptions=(httpx.TransportError, httpx.HTTPStatusError),
        max_tries=None,
        max_time=patience,
        should_giveup=lambda error: stop.is_set() or _final(error),
        wait_function=wait,
        jitter=None,
    )


def _final(error: Exception) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code not in _AWAY
    return "certificate" in str(error).lower()  # other faults of TLS come and go with a link that is being started


def named(error: Exception, address: str) -> FleetMLError:
    """Return an error of the transport as one that a user can do something about."""
    if isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (*REFUSED, _NOT_ADMITTED):
        return ConfigurationError(
            f"the link at {address} takes who proves who he is, it refused ({error.response.status_code}); give the secret in its "
            "driver.secret, for a region the key whose .pub lies in its folder regions"
        )
    if isinstance(error, httpx.HTTPStatusError):
        return Unavailable(f"the link at {address} answered {error.response.status_code}: {error.response.text[:200]}")
    if "certificate" in str(error).lower():
        return ConfigurationError(
            f"the link at {address} must show a certificate of the authority that is trusted here ({error}); give the "
            "authority.pem of its folder, and a name or address that `fleetml federation keys` was told"
        )
    return Unavailable(f"the link at {address} must answer, it does not ({error}); start it: fleetml federation link")


class Bearer:
    """Shows the driver's secret to the link."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers["authorization"] = f"Bearer {self._secret}"
        return call_next(context)
