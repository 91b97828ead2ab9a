"""The circuit breakers of a process, told to Prometheus."""

from prometheus_client import Gauge

from fleetml import breakers

STATE = Gauge(
    "circuit_breaker_state",
    "Of the breaker before a service: 0 closed, 1 half open, 2 open",
    ["service"],
    multiprocess_mode="livemax",
)


def follow() -> None:
    """Tell of every breaker that this process makes from now on."""
    breakers.listen(_tell)


def _tell(service: str, state: str) -> None:
    STATE.labels(service).set(breakers.STATES[state])
