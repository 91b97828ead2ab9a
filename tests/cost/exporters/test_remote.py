"""Tokens of servers elsewhere: what no header can carry is refused before anything is asked, and never shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleetml.cost.exporters.prometheus import Prometheus
from fleetml.cost.exporters.push import Receiver
from fleetml.cost.exporters.remote import bearer
from fleetml.errors import ConfigurationError

TAKERS: tuple[Callable[[str], Prometheus | Receiver], ...] = (
    lambda token: Prometheus.of("http://localhost:9090", token=token),
    lambda token: Receiver.of("http://localhost:9091/metrics/job/costs", token),
)


@pytest.mark.parametrize("take", TAKERS)
def test_a_line_end_after_a_token_is_not_of_it(take: Callable[[str], Prometheus | Receiver]) -> None:
    """Mounted secrets often end so; http.client's refusal quotes them, which was told to whoever asks /ready."""
    assert bearer(take("a-token\n").token) == {"Authorization": "Bearer a-token"}
    assert bearer(take("").token) == {}


def test_a_token_that_others_could_read_is_warned_of_and_no_address_without_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Prometheus.of("http://prometheus.example:9090")
    Prometheus.of("https://prometheus.example", token="word")
    assert caplog.messages == []
    Prometheus.of("http://prometheus.example:9090", token="word")
    Receiver.of("http://push.example:9091/metrics/job/costs", "word")
    assert [line.split(",")[0] for line in caplog.messages] == [
        f"a token travels in the clear to {where}" for where in ("prometheus.example:9090", "push.example:9091")
    ]


@pytest.mark.parametrize("take", TAKERS)
@pytest.mark.parametrize("token", ["hid\nden", "hid den", "hidden\u20ac", "hid\x00den"])
def test_what_no_header_can_carry_is_refused_and_not_shown(
    take: Callable[[str], Prometheus | Receiver], token: str
) -> None:
    with pytest.raises(ConfigurationError, match="wants a token of ASCII") as told:
        take(token)
    assert "hid" not in str(told.value)
