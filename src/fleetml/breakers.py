"""Circuit breakers: a service that failed some times running is left alone for a while, then tried with one question.

The states are those of `circuitbreaker`, by the monotonic clock. Each process has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fleetml.errors import Unavailable

STATES = {"closed": 0, "half_open": 1, "open": 2}
"""What Prometheus is told as `circuit_breaker_state`."""

Listener = Callable[[str, str], None]
"""Told the name of a service and the state of its breaker, when that changes."""

_listeners: list[Listener] = []
_known: dict[tuple[str, str], Breaker] = {}


class Open(Unavailable):
    """The service is not asked: it failed shortly before."""


class Breaker:
    """The breaker before one service: open after `threshold` failures in a row, for `seconds`.

    A failure is what `failed` is true of; anything else that is raised came from a service that answers.
    """

    def __init__(
        self,
        service: str,
        threshold: int,
        seconds: float,
        failed: Callable[[BaseException], bool] = lambda error: True,
    ) -> None:
        from circuitbreaker import CircuitBreaker

        self.service = service
        self._circuit = CircuitBreaker(threshold, seconds, lambda kind, error: failed(error), service)
        self._told = ""
        self._tell()

    @property
    def state(self) -> str:
        """A key of `STATES`; half_open from when the next question is a trial."""
        return str(self._circuit.state)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Ask the service inside the block. Raises Open, without running it, while the service is left alone."""
        if self._circuit.opened:
            raise Open(
                f"{self.service} must answer, and failed {self._circuit.failure_count} times "
                f"({self._circuit.last_failure}); it is asked again in {max(1, self._circuit.open_remaining)} s"
            )
        self._tell()
        try:
            yield
        except Exception as error:  # whoever was cancelled says nothing of the service
            self._circuit.__exit__(type(error), error, error.__traceback__)
            raise
        else:
            self._circuit.__exit__(None, None, None)
        finally:
            self._tell()

    def _tell(self) -> None:
        if (state := self.state) != self._told:
            self._told = state
            for listener in _listeners:
                listener(self.service, state)


def listen(listener: Listener) -> None:
    """Tell `listener` of every change of a state from now on."""
    if listener not in _listeners:
        _listeners.append(listener)


def of(
    service: str,
    place: str,
    threshold: int,
    seconds: float,
    failed: Callable[[BaseException], bool] = lambda error: True,
) -> Breaker:
    """Return this process' breaker before the service at a place (a URL), made with these limits if it is new."""
    if (service, place) not in _known:
        _known[service, place] = Breaker(service, threshold, seconds, failed)
    return _known[service, place]
