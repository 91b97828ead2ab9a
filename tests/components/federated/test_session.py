"""One node a region: which of two processes the link hears."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from components.federated.session import SILENT_SECONDS, TAKEN, OneNode

OK = 200


class Link:
    """A link of one layer, whose clock is set by hand; `status` is what it answers those that it hears."""

    def __init__(self) -> None:
        self.now, self.status, self._layer = 100.0, OK, OneNode(self._hears, lambda: self.now)

    def asked(self, session: str, *keys: str, path: str = "/v1/fleet/pull-messages") -> int:
        """Return what it answers a process that shows a key, or several."""
        said: list[int] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                said.append(message["status"])

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.disconnect"}

        shown = [(b"flwr-public-key", key.encode()) for key in keys or ("east",)]
        headers = [*shown, (b"fleetml-session", session.encode())]
        scope = {"type": "http", "path": path, "headers": headers}
        asyncio.run(self._layer(scope, receive, send))
        return said[0]

    async def _hears(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def test_a_second_process_of_a_region_is_refused_and_other_regions_are_not() -> None:
    link = Link()
    assert [link.asked("one"), link.asked("two"), link.asked("one"), link.asked("two", "west")] == [OK, TAKEN, OK, OK]


def test_one_that_was_silent_is_replaced_and_is_refused_when_it_comes_back() -> None:
    link = Link()
    link.asked("one")
    link.now += SILENT_SECONDS
    assert [link.asked("two"), link.asked("one")] == [OK, TAKEN]


def test_what_is_refused_does_not_count_as_heard() -> None:
    link = Link()
    link.asked("one")
    link.now += SILENT_SECONDS - 1
    assert link.asked("two") == TAKEN
    link.now += 1
    assert link.asked("two") == OK


def test_who_shows_another_s_key_after_its_own_does_not_speak_for_it() -> None:
    """Of two keys the first is that whose signature was checked."""
    link = Link()
    assert [link.asked("two", "west", "east"), link.asked("one")] == [OK, OK]


def test_one_that_says_goodbye_is_replaced_at_once() -> None:
    link = Link()
    link.asked("one")
    link.asked("one", path="/v1/fleet/deactivate-node")
    assert link.asked("two") == OK


@pytest.mark.parametrize("status", [401, 412])
def test_a_process_that_the_link_refuses_holds_no_key(status: int) -> None:
    link = Link()
    link.status = status
    link.asked("stranger")
    link.status = OK
    assert [link.asked("one"), link.asked("stranger")] == [OK, TAKEN]


def test_who_drives_runs_is_no_node() -> None:
    link = Link()
    assert [link.asked(each, path="/v1/control/start-run") for each in ("one", "two")] == [OK, OK]
