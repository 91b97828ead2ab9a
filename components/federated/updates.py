"""What a region sends in place of its float32 weights: the difference to what it was sent, in fewer bytes.

Values in 16 bits (float16) or 8 (integers, one scale a tensor), of all weights or of the largest share (top-k). Error feedback (Seide et
al. 2014; Karimireddy et al. 2019): what that loses is kept in the region and added to its next difference. Nothing is random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetml.errors import InvalidData
from fleetml.frozen import frozen

Difference = dict[str, NDArray[Any]]
"""Float arrays by the name of the tensor: what training changed."""

_LARGEST = 127
_FLOAT16 = float(np.finfo(np.float16).max)
_TYPES: Mapping[int, Any] = {32: np.float32, 16: np.float16, 8: np.int8}
PARTS = ("scale", "place")
"""Parts of a tensor beside its values: what integers are multiplied by, and the places of values where not all are sent."""


@frozen
class Coding:
    """bits: of a value, 32, 16 or 8. share: of a tensor's values, the largest that are sent; 1: all."""

    bits: int = 32
    share: float = 1.0

    @property
    def plain(self) -> bool:
        """Whether nothing is lost, so that weights can be sent as they are."""
        return self.bits == 32 and self.share == 1

    def kept(self, count: int) -> int:
        """Return how many of a tensor's values are sent."""
        return count if self.share == 1 else min(count, max(1, math.ceil(self.share * count)))


def encode(
    change: Mapping[str, NDArray[Any]], coding: Coding, owed: Mapping[str, NDArray[Any]]
) -> tuple[Difference, Difference]:
    """Return the parts to send, named ``tensor`` or ``tensor:part``, and what they lose, owed to the next difference.

    owed: what the call before returned; {} the first time.
    """
    parts: Difference = {}
    lost: Difference = {}
    for name, value in change.items():
        wanted = np.asarray(value + owed.get(name, np.float32(0)), np.float32)
        written = _written(wanted.reshape(-1), coding)
        parts |= {f"{name}:{part}" if part else name: it for part, it in written.items()}
        lost[name] = wanted - _read(written, coding, wanted.size).reshape(wanted.shape)
    return parts, lost


def decode(parts: Mapping[str, NDArray[Any]], coding: Coding, like: Mapping[str, NDArray[Any]]) -> Difference:
    """Return the difference that was encoded, in float32, of the names and shapes of `like`.

    Raises InvalidData for parts of another name, type, number or place, and for values that are not finite.
    """
    names = {f"{name}:{part}" if part else name for name in like for part in _named(coding)}
    if parts.keys() != names:
        raise InvalidData(f"a difference holds {', '.join(sorted(names))}, got {', '.join(sorted(parts)) or 'nothing'}")
    found: Difference = {}
    for name, value in like.items():
        own = {part: parts[f"{name}:{part}" if part else name] for part in _named(coding)}
        found[name] = _read(_checked(own, coding, value.size), coding, value.size).reshape(value.shape)
        if not np.isfinite(found[name]).all():
            raise InvalidData(f"the difference of {name!r} is finite, got one that is not")
    return found


def difference(after: Mapping[str, NDArray[Any]], before: Mapping[str, NDArray[Any]]) -> Difference:
    """Return what changed, in float32."""
    return {name: (after[name].astype(np.float64) - value).astype(np.float32) for name, value in before.items()}


def added(before: Mapping[str, NDArray[Any]], change: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the weights after a change, each in its own type."""
    return {name: np.asarray(value.astype(np.float64) + change[name], value.dtype) for name, value in before.items()}


def _named(coding: Coding) -> list[str]:
    return ["", *(["scale"] if coding.bits == 8 else []), *(["place"] if coding.share < 1 else [])]


def _written(flat: NDArray[np.float32], coding: Coding) -> Difference:
    parts: Difference = {}
    if coding.share < 1:  # of equal magnitudes the first
        place = np.sort(np.argsort(-np.abs(flat), kind="stable")[: coding.kept(flat.size)])
        parts["place"] = place.astype(np.uint32)
        flat = flat[place]
    if coding.bits == 32:
        return {"": flat, **parts}
    if coding.bits == 16:
        return {"": np.clip(flat, -_FLOAT16, _FLOAT16).astype(np.float16), **parts}
    scale = np.float32(np.abs(flat).max(initial=0) / _LARGEST)
    steps = np.rint(flat / scale) if scale > 0 else np.zeros_like(flat)
    whole = np.clip(steps, -_LARGEST, _LARGEST).astype(np.int8)
    return {"": whole, "scale": np.array([scale], np.float32), **parts}


def _read(parts: Mapping[str, NDArray[Any]], coding: Coding, count: int) -> NDArray[np.float32]:
    values = parts[""].astype(np.float32)
    if coding.bits == 8:
        with np.errstate(over="ignore", invalid="ignore"):
            values = values * parts["scale"]
    if coding.share == 1:
        return values
    flat = np.zeros(count, np.float32)
    flat[parts["place"]] = values
    return flat


def _checked(parts: Difference, coding: Coding, count: int) -> Difference:
    """Return the parts flat, as long and of such types as the coding makes them. Raises InvalidData."""
    kept = coding.kept(count)
    wanted = {"": (_TYPES[coding.bits], kept), "scale": (np.float32, 1), "place": (np.uint32, kept)}
    for part, it in parts.items():
        dtype, size = wanted[part]
        if it.dtype != dtype or it.size != size:
            raise InvalidData(
                f"a difference holds {size} {part or 'value'}s of {np.dtype(dtype)}, got {it.size} of {it.dtype}"
            )
    flat = {part: it.reshape(-1) for part, it in parts.items()}
    place = flat.get("place", np.empty(0)).astype(np.int64)
    if place.size and (place[-1] >= count or np.any(np.diff(place) <= 0)):
        raise InvalidData(f"places of values rise and lie below {count}, got others")
    return flat
