"""Differences in fewer bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from components.federated import updates
from components.federated.updates import Coding
from fleetml.errors import InvalidData

CODINGS = [Coding(bits, share) for bits in (32, 16, 8) for share in (1.0, 0.1)]


def change(seed: int = 0) -> dict[str, Any]:
    draws = np.random.default_rng(seed)
    return {
        "a": draws.normal(0, 0.01, (30, 20)).astype(np.float32),
        "b": draws.normal(0, 5, 7).astype(np.float32),
        "none": np.zeros((0, 3), np.float32),
        "still": np.zeros(4, np.float32),
    }


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_what_is_lost_is_owed_to_the_next_difference(coding: Coding) -> None:
    """Error feedback: all that is ever sent, and what is owed, is all that changed."""
    sent, wanted, owed = {}, {}, {}
    for seed in range(20):
        wanted = {name: wanted.get(name, 0) + value for name, value in change(seed).items()}
        parts, owed = updates.encode(change(seed), coding, owed)
        sent = {name: sent.get(name, 0) + value for name, value in updates.decode(parts, coding, change()).items()}
    for name, value in wanted.items():
        np.testing.assert_allclose(sent[name] + owed[name], value, atol=1e-4)


def test_fewer_bits_and_values_are_fewer_bytes() -> None:
    written = [updates.encode({"a": np.ones(1000, np.float32)}, coding, {})[0] for coding in CODINGS]
    assert [sum(part.nbytes for part in parts.values()) for parts in written] == [4000, 800, 2000, 600, 1004, 504]


def test_eight_bits_err_by_half_a_step() -> None:
    read = updates.decode(updates.encode(change(), Coding(8), {})[0], Coding(8), change())
    for name, value in change().items():
        assert np.abs(read[name] - value).max(initial=0) <= np.abs(value).max(initial=0) / 127 / 2 * 1.0001


def test_top_k_sends_the_largest_and_of_equals_the_first() -> None:
    values = {"a": np.array([1, -9, 3, 3, -3], np.float32)}
    parts, owed = updates.encode(values, Coding(32, 0.4), {})
    assert parts["a:place"].tolist() == [1, 2]
    assert owed["a"].tolist() == [1, 0, 0, 3, -3]


def test_the_same_difference_is_always_written_alike() -> None:
    for coding in CODINGS:
        first, second = (updates.encode(change(), coding, {})[0] for _ in range(2))
        assert {name: part.tobytes() for name, part in first.items()} == {
            name: part.tobytes() for name, part in second.items()
        }


def test_weights_come_back_in_their_own_types() -> None:
    before = {"w": np.ones(3, np.float64), "n": np.ones(2, np.float32)}
    after = updates.added(before, updates.difference({"w": np.full(3, 1.5), "n": np.full(2, 3, np.float32)}, before))
    assert (after["w"].dtype, after["n"].dtype) == (np.float64, np.float32)
    assert after["w"].tolist() == [1.5] * 3
    assert after["n"].tolist() == [3] * 2


def bad(coding: Coding, **changes: Any) -> dict[str, Any]:
    parts, _ = updates.encode({"a": np.arange(10, dtype=np.float32)}, coding, {})
    return {name: value for name, value in {**parts, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("coding", "changes", "said"),
    [
        (Coding(16), {"a": None}, "holds a, got nothing"),
        (Coding(16), {"b": np.zeros(1)}, "got a, b"),
        (Coding(16), {"a": np.zeros(9, np.float16)}, "10 values of float16, got 9"),
        (Coding(16), {"a": np.zeros(10, np.float64)}, "got 10 of float64"),
        (Coding(16), {"a": np.full(10, np.inf, np.float16)}, "finite"),
        (Coding(8), {"a:scale": np.array([np.nan], np.float32)}, "finite"),
        (Coding(32, 0.2), {"a:place": np.array([3, 10], np.uint32)}, "below 10"),
        (Coding(32, 0.2), {"a:place": np.array([3, 3], np.uint32)}, "rise"),
    ],
)
def test_what_is_no_difference_is_refused(coding: Coding, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidData, match=said):
        updates.decode(bad(coding, **changes), coding, {"a": np.zeros(10, np.float32)})
