"""Circuit breakers: when a service is left alone, and when it is tried again."""

import asyncio

import circuitbreaker
import pytest

from fleetml import breakers
from fleetml.breakers import Breaker, Open


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the breakers; a test turns it."""
    now = [100.0]
    monkeypatch.setattr(circuitbreaker, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    heard: list[tuple[str, str]] = []
    monkeypatch.setattr(breakers, "_listeners", [])
    breakers.listen(lambda service, state: heard.append((service, state)))
    return heard


def ask(breaker: Breaker, error: Exception | None = None) -> bool:
    """Say whether the service was asked."""
    try:
        with breaker.calling():
            if error:
                raise error
    except Open:
        return False
    except OSError:
        pass
    return True


def test_after_failures_in_a_row_nobody_asks_until_the_pause_is_over(
    clock: list[float], told: list[tuple[str, str]]
) -> None:
    breaker = Breaker("mlflow", 2, 30.0)
    assert [ask(breaker, OSError("gone")) for _ in range(3)] == [True, True, False]
    with pytest.raises(Open, match=r"mlflow must answer, and failed 2 times \(gone\); it is asked again in 30 s"):
        breaker.calling().__enter__()
    clock[0] += 31
    assert ask(breaker, OSError("still gone"))  # one trial
    assert not ask(breaker)
    clock[0] += 31
    assert ask(breaker)
    assert breaker.state == "closed"
    states = [state for _, state in told]
    assert states == ["closed", "open", "half_open", "open", "half_open", "closed"]


def test_failures_that_are_not_in_a_row_open_nothing() -> None:
    breaker = Breaker("mlflow", 2, 30.0)
    assert all(ask(breaker, error) for error in (OSError(), None, OSError(), None, OSError()))
    assert breaker.state == "closed"


def test_what_a_service_refuses_is_an_answer() -> None:
    breaker = Breaker("mlflow", 1, 30.0, failed=lambda error: isinstance(error, OSError))
    with pytest.raises(ValueError, match="unknown model"), breaker.calling():
        raise ValueError("unknown model")
    assert breaker.state == "closed"


def test_whoever_was_cancelled_says_nothing_of_the_service() -> None:
    breaker = Breaker("feature_store", 2, 30.0)
    ask(breaker, OSError())
    with pytest.raises(asyncio.CancelledError), breaker.calling():
        raise asyncio.CancelledError
    ask(breaker, OSError())
    assert breaker.state == "open"


def test_one_place_has_one_breaker() -> None:
    first = breakers.of("mlflow", "http://one", 1, 30.0)
    assert breakers.of("mlflow", "http://one", 1, 30.0) is first
    assert breakers.of("mlflow", "http://two", 1, 30.0) is not first
