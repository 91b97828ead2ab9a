"""The link's look for regions, without a link; with one: test_superlink."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.federated import keys, link


class Nodes:
    """What a link knows of its nodes: as Flower does it takes no key again that was expelled. `fails`: how often it cannot be asked."""

    def __init__(self) -> None:
        self.there: dict[bytes, SimpleNamespace] = {}
        self.expelled = list[str]()
        self.fails = 0

    @property
    def names(self) -> list[str]:
        return sorted(node.name for node in self.there.values())

    def get_node_info(self) -> list[SimpleNamespace]:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the state cannot be asked")
        return list(self.there.values())

    def create_node(self, owner: str, account: str, public: bytes, interval: int, *, name: str) -> None:
        if public in self.expelled:
            raise ValueError("this key was used")
        assert name not in self.names, "a region's name is that of one node"
        self.there[public] = SimpleNamespace(name=name, node_id=public, public_key=public, status="online")

    def delete_node(self, owner: str, node_id: Any) -> None:
        del self.there[node_id]
        self.expelled.append(node_id)


def looks(folder: Path, nodes: Nodes, before_each: Sequence[Callable[[], object]]) -> None:
    """Let the link look as often as there is something to do before."""
    steps = iter(before_each)

    def wait(seconds: float) -> bool:
        if (step := next(steps, None)) is None:
            return True
        step()
        return False

    ended: Any = SimpleNamespace(wait=wait)
    link._watch(folder, nodes, ended)  # type: ignore[arg-type]


def nothing() -> None:
    """Happens before a look."""


@pytest.fixture
def east(tmp_path: Path) -> Path:
    """The public key of a region, which is admitted."""
    return keys.make_region(tmp_path / keys.REGIONS, "east")


def test_a_key_that_came_while_the_link_began_is_admitted(tmp_path: Path, east: Path) -> None:
    nodes = Nodes()
    looks(tmp_path, nodes, [nothing, nothing])
    assert nodes.names == ["east"]


@pytest.mark.parametrize("torn", [b"", b"-----BEGIN PUBLIC KEY-----\nMFk"])
def test_a_key_that_is_being_overwritten_expels_nobody(tmp_path: Path, east: Path, torn: bytes) -> None:
    nodes, whole = Nodes(), east.read_bytes()
    looks(tmp_path, nodes, [nothing, lambda: east.write_bytes(torn), lambda: east.write_bytes(whole), nothing])
    assert (nodes.names, nodes.expelled) == (["east"], [])


def test_a_folder_that_is_away_for_one_look_expels_nobody(tmp_path: Path, east: Path) -> None:
    nodes, folder, away = Nodes(), tmp_path / keys.REGIONS, tmp_path / "away"
    looks(tmp_path, nodes, [nothing, nothing, lambda: folder.rename(away), lambda: away.rename(folder), nothing])
    assert (nodes.names, nodes.expelled) == (["east"], [])


def test_a_key_that_is_gone_in_two_looks_expels_its_region(tmp_path: Path, east: Path) -> None:
    nodes = Nodes()
    looks(tmp_path, nodes, [nothing, east.unlink, nothing])
    assert (nodes.names, len(nodes.expelled)) == ([], 1)


def test_a_region_with_another_key_is_admitted_when_the_one_before_is_gone(tmp_path: Path, east: Path) -> None:
    nodes, other = Nodes(), keys.make_region(tmp_path / "other", "east").read_bytes()
    looks(tmp_path, nodes, [nothing, lambda: east.write_bytes(other), nothing, nothing])
    assert list(nodes.there) == [other]


def test_what_goes_wrong_is_told_once_and_ends_no_watch(
    tmp_path: Path, east: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = Nodes()
    nodes.fails = 2
    with caplog.at_level(logging.ERROR):
        looks(tmp_path, nodes, [nothing, nothing, nothing])
    assert nodes.names == ["east"]
    assert caplog.text.count("could not be admitted") == 1
