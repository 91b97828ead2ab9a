"""A message's content in few objects, and back."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from components.federated import envelope


def content() -> RecordDict:
    arrays = ArrayRecord({f"w{index}": Array(np.full((3, 4), index, np.float32)) for index in range(4)})
    return RecordDict({"arrays": arrays, "metrics": MetricRecord({"a": 1.5}), "config": ConfigRecord({"b": "text"})})


@pytest.mark.parametrize("piece", [64, 2**20])
def test_what_is_sealed_is_opened_as_it_was(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(envelope, "PIECE_BYTES", piece)
    sealed = envelope.sealed(content())
    assert (len(sealed) == 1) == (piece > 64)
    assert envelope.opened(sealed) == content()


def test_a_model_is_one_object() -> None:
    assert list(envelope.sealed(content()).array_records) == []
    assert len(envelope.sealed(content()).config_records) == 1


@pytest.mark.parametrize("junk", [{"x": ConfigRecord({"bytes": b"\xff\xff"})}, {"x": ConfigRecord({"other": 1})}])
def test_what_is_no_envelope_is_refused(junk: dict[str, ConfigRecord]) -> None:
    with pytest.raises(ValueError, match="holds no records"):
        envelope.opened(RecordDict(dict(junk)))
