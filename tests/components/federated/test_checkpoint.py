"""The state after a round."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from components.federated.checkpoint import Checkpoint, Round, State
from components.federated.selection import Client
from fleetml.errors import InvalidData

STATE = State(
    number=2,
    arrays={"body/w": np.arange(4, dtype=np.float32), "b": np.zeros((1, 2), np.float64)},
    remembered={"m_t": {"body/w": np.ones(4, np.float32)}},
    clients={"east": Client(7, 2, 0.25)},
    history=(Round(1, ["east"], {"west": "late"}, math.nan, 0.5, 10, 20, 1.5),),
    ledger={"east": [1, 0.5]},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "folder/kept")
    kept.write(STATE)
    found = kept.read()
    assert found is not None
    assert [(name, each.dtype, each.tolist()) for name, each in found.arrays.items()] == [
        (name, each.dtype, each.tolist()) for name, each in STATE.arrays.items()
    ]
    assert found.remembered["m_t"]["body/w"].tolist() == [1, 1, 1, 1]
    assert (found.number, found.clients, found.ledger) == (2, STATE.clients, STATE.ledger)
    assert repr(found.history) == repr(STATE.history)
    assert [each.name for each in (tmp_path / "folder").iterdir()] == ["kept"]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "none").read() is None
    assert Checkpoint().read() is None
    Checkpoint().write(STATE)
    Checkpoint(tmp_path / "none").remove()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_another_file_is_refused_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kept").write_bytes(content)
    with pytest.raises(InvalidData, match=r"kept is no checkpoint of federated rounds .*; delete it"):
        Checkpoint(tmp_path / "kept").read()


def test_a_private_run_is_not_told_to_forget_what_it_spent(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"no zip")
    with pytest.raises(
        InvalidData, match=r"bring it back from a copy: without it what was spent of epsilon"
    ) as refused:
        Checkpoint(tmp_path / "kept", private=True).read()
    assert "delete" not in str(refused.value)


def test_it_is_on_the_disk_before_the_next_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, name, folder, in this order: what a power cut leaves is whole."""
    done, sync, rename = list[str](), os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("folder" if _is_folder(file) else "file"), sync(file)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (done.append("rename"), rename(self, to)))
    Checkpoint(tmp_path / "kept").write(STATE)
    assert done == ["file", "rename", "folder"]


def _is_folder(file: int) -> bool:
    return stat.S_ISDIR(os.fstat(file).st_mode)
