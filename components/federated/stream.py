"""Random bits from a key: masks of secure aggregation and the noise of differential privacy.

AES-256 in counter mode. numpy's generators are not made to keep what they drew unknown, and Flower's own expansion of masks folds a
key of 256 bits into a seed of 32 (`pseudo_rand_gen`), which can be tried out.
"""

from __future__ import annotations

import hashlib
import os

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

_START = bytes(16)
_BITS = 52  # of a uniform draw: its middle, (k + 1/2) / 2^52, is a float64 without rounding


def derived(*parts: object) -> bytes:
    """Return a key [32 bytes] of what it is for, such as (seed, "noise", round, node)."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()


def fresh() -> bytes:
    """Return a key that nobody knows [32 bytes]."""
    return os.urandom(32)


def words(key: bytes, count: int) -> NDArray[np.uint32]:
    """Return `count` uniform words of 32 bits. A key is for one use: the same key gives the same words."""
    return np.frombuffer(_keystream(key, 4 * count), "<u4")


def gaussian(key: bytes, count: int) -> NDArray[np.float64]:
    """Return `count` standard normal draws, by inversion."""
    from scipy.special import ndtri  # a run without noise does not wait for it

    drawn = np.frombuffer(_keystream(key, 8 * count), "<u8") >> np.uint64(64 - _BITS)
    return np.asarray(ndtri((drawn + 0.5) * 2.0**-_BITS), np.float64)


def _keystream(key: bytes, size: int) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(_START)).encryptor().update(bytes(size))
