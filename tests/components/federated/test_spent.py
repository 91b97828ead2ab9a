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
    spent.begin(place)
    assert spent.read(place) == Ledger()
    spent.write(place, LEDGER)
    spent.begin(place)
    assert spent.read(place) == LEDGER
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [place.name]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"east": [0, 1]}', b"\xff"])
def test_a_ledger_that_cannot_be_read_is_not_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "east.spent").write_bytes(content)
    with pytest.raises(InvalidData, match=r"east\.spent holds what the region has spent .*; bring it back from a copy"):
        spent.begin(tmp_path / "east.spent")
    assert (tmp_path / "east.spent").read_bytes() == content


def test_a_place_that_takes_no_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"east\.spent cannot be written"):
        spent.begin(tmp_path / "file/east.spent")
