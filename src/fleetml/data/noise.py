"""Randomness that is a pure function of its keys: the same (seed, stream, VM, time) is always the same number.

A sequential generator would tie a value to how many were drawn before it; then a window that ends a day later
would rewrite history. Keys are hashed with SplitMix64's finaliser (Steele, Lea, Flood: "Fast splittable
pseudorandom number generators", OOPSLA 2014) instead.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(seed: int, stream: str, *keys: Integers) -> Floats:
    """Return numbers in [0, 1), one for each combination of the broadcast integer `keys`."""
    state = np.atleast_1d(np.asarray((seed << 32) ^ zlib.crc32(stream.encode()), dtype=np.uint64))
    with np.errstate(over="ignore"):
        for key in keys:
            state = _mix((state ^ key.astype(np.int64).view(np.uint64)) + _GAMMA)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def stepwise(seed: int, stream: str, vm: Integers, index: Integers) -> Floats:
    """Return `uniform(seed, stream, vm, index)` for an `index` [VM, time] that advances slowly.

    Each distinct index is hashed once and looked up, which is what makes a month of samples cheap.
    """
    first, last = int(index.min()), int(index.max())
    table = uniform(seed, stream, vm, np.arange(first, last + 1, dtype=np.int64)[None, :])
    return np.take_along_axis(table, np.broadcast_to(index - first, np.broadcast_shapes(index.shape, vm.shape)), axis=1)


def smooth(seed: int, stream: str, vm: Integers, seconds: Integers, period: int) -> Floats:
    """Return noise of mean 0 and variance near 1 that changes over about `period` seconds (value noise)."""
    index = seconds // period  # numpy divides by a scalar much faster with // than with divmod
    share = (seconds - index * period) / period
    share = share * share * (3.0 - 2.0 * share)
    before, after = stepwise(seed, stream, vm, index), stepwise(seed, stream, vm, index + 1)
    return ((before - 0.5) * (1.0 - share) + (after - 0.5) * share) * 12.0**0.5


def fractal(seed: int, stream: str, vm: Integers, seconds: Integers) -> Floats:
    """Return noise with structure from five minutes to a day, of variance near 1."""
    octaves = ((300, 0.35), (1_800, 0.45), (7_200, 0.5), (86_400, 0.65))
    total = np.zeros(np.broadcast_shapes(vm.shape, seconds.shape))
    for period, weight in octaves:
        total += weight * smooth(seed, f"{stream}/{period}", vm, seconds, period)
    return total


def bursts(seed: int, stream: str, vm: Integers, seconds: Integers, block: int, chance: float) -> Floats:
    """Return 0 outside bursts and a height in (0, 1] inside: at most one burst in a `block` of seconds.

    A burst begins in the first half of its block, lasts up to a third of it and has a heavy-tailed height.
    """
    index = seconds // block
    position = (seconds - index * block) / block
    start = 0.5 * stepwise(seed, f"{stream}/start", vm, index)
    length = 0.02 + 0.3 * stepwise(seed, f"{stream}/length", vm, index) ** 2
    height = 0.15 + 0.85 * stepwise(seed, f"{stream}/height", vm, index) ** 3
    happens = stepwise(seed, f"{stream}/happens", vm, index) < chance
    return np.where(happens & (position >= start) & (position < start + length), height, 0.0)
