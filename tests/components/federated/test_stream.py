"""Random bits from a key."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from components.federated import stream


def test_words_are_the_keystream_of_aes_in_counter_mode() -> None:
    key = bytes(range(32))
    expected = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(400))
    assert stream.words(key, 100).astype("<u4").tobytes() == expected


def test_keys_of_other_parts_give_other_words() -> None:
    keys = [
        stream.derived(0, "noise", 1, "east"),
        stream.derived(0, "noise", 1, "west"),
        stream.derived(0, "noise", 11),
    ]
    assert len({stream.words(key, 8).tobytes() for key in keys}) == 3
    assert stream.derived(0, "noise", 1, "east") == keys[0]


def test_fresh_keys_are_never_the_same() -> None:
    assert len({stream.fresh() for _ in range(100)}) == 100


def test_gaussian_draws_are_standard_normal() -> None:
    from scipy import stats

    drawn = stream.gaussian(stream.derived("test"), 200_000)
    assert np.isfinite(drawn).all()
    assert stats.kstest(drawn, "norm").pvalue > 1e-3
    assert np.std(drawn) == pytest.approx(1, abs=0.01)
