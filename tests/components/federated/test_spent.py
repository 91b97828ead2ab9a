"""What a node has spent of its own epsilon, in a file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from components.federated import spent
from components.federated.privacy import Ledger
from fleetml.errors import ConfigurationError, InvalidData

LEDGER = Ledger({"east": (3, 0.25)})


def test_a_ledger_outlives_its_node_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    place = spent.beside(tmp_path / "eu.west.key")
    assert place.name == "eu.west.spent"
    with spent.begun(place):
        assert spent.read(place) == Ledger()
        spent.write(place, LEDGER)
    with spent.begun(place):
        assert spent.read(place) == LEDGER
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["eu.west.lock", place.name]


def test_a_ledger_is_of_one_node_also_where_their_keys_are_two(tmp_path: Path) -> None:
    old, new = spent.beside(tmp_path / "east.pem"), spent.beside(tmp_path / "east.key")
    with spent.begun(old):
        spent.write(old, LEDGER)  # another file in its place: a lock on the ledger itself would hold no more
        with (
            pytest.raises(ConfigurationError, match=r"a region has one node, another process uses .*east\.lock"),
            spent.begun(new),
        ):
            pytest.fail("two have it")
    with spent.begun(new):
        assert spent.read(new) == LEDGER


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"east": [0, 1]}', b"\xff"])
def test_a_ledger_that_cannot_be_read_is_not_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "east.spent").write_bytes(content)
    with pytest.raises(InvalidData, match=r"east\.spent holds what the region has spent .*; bring it back from a copy"):
        spent.begun(tmp_path / "east.spent").__enter__()
    assert (tmp_path / "east.spent").read_bytes() == content


def test_a_place_that_takes_no_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"east\.spent cannot be written"):
        spent.begun(tmp_path / "file/east.spent").__enter__()
