"""What a results file writes as text or number -> quantities in one unit, or ValueError that says what a right one is."""

from __future__ import annotations

import math
import re
from typing import Any

_BITRATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmg])(?:bps|bit/s|b/s)?|(bps|bit/s|b/s))?", re.IGNORECASE)
_PER_MBPS = {"": 1e3, "k": 1e3, "m": 1.0, "g": 1e-3, "bps": 1e6, "bit/s": 1e6, "b/s": 1e6}
_RESOLUTION = re.compile(r"(\d{1,5})\s*[x×]\s*(\d{1,5})", re.IGNORECASE)  # noqa: RUF001 (the sign is what people write)
_STREAMS = re.compile(r"(?<![\d.])(\d{1,6})[\s-]*streams?\b|\b(single)[\s-]+stream\b", re.IGNORECASE)
_IDLE = re.compile(r"\b(?:baseline|idle)\b(?! profile)", re.IGNORECASE)  # H.264 has a baseline profile
_HIGHEST_MBPS = 1000.0
"""Above it a bitrate is bits read as kilobits: encoders of today stay far below 1 Gbit/s."""
_LEAST, _MOST = 1e-9, 1e15
"""Nothing that is measured here is nearer to 0, or larger; so no sum, product or ratio of them overflows."""


def finite(value: Any) -> float:
    """Return a finite number. Raises ValueError for anything else: NaN, text, true."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError("is no number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("is no finite number") from None
    if not math.isfinite(number):
        raise ValueError("is no finite number")
    if abs(number) > _MOST:
        raise ValueError(f"is beyond {_MOST:g}")
    return number


def positive(value: Any) -> float:
    """Return a finite number above 0."""
    number = finite(value)
    if number < _LEAST:
        raise ValueError("is not above 0")
    return number


def from_zero(value: Any) -> float:
    """Return a finite number from 0 up."""
    number = finite(value)
    if number < 0:
        raise ValueError("is below 0")
    return number


def count(value: Any) -> int:
    """Return a whole number from 0 up."""
    number = from_zero(value)
    if number != int(number):
        raise ValueError("is no whole number")
    return int(number)


def percentage(value: Any) -> float:
    """Return a number of 0 to 100, as VMAF is."""
    number = from_zero(value)
    if number > 100:
        raise ValueError("is above 100")
    return number


def share(value: Any) -> float:
    """Return a number of 0 to 1, as SSIM is."""
    number = from_zero(value)
    if number > 1:
        raise ValueError("is above 1")
    return number


def text(value: Any) -> str | None:
    """Return a text without the spaces around it, None for "" and "N/A"."""
    if not isinstance(value, str):
        raise ValueError("is no text")
    stripped = value.strip()
    return None if stripped.lower() in ("", "n/a", "none", "unknown") else stripped


def mbps(value: Any) -> float | None:
    """Return a bitrate [Mbit/s]: "2500k", "5M", "1000" and 1000 (kbit/s), "800bps"; None for "N/A"."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found = from_zero(value) / _PER_MBPS[""]
    else:
        written = text(value)
        if written is None:
            return None
        match = _BITRATE.fullmatch(written)
        if match is None:
            raise ValueError('is no bitrate such as "2500k", "5M" or "1000" (kbit/s)')
        found = float(match[1]) / _PER_MBPS[(match[2] or match[3] or "").lower()]
    if found > _HIGHEST_MBPS:
        raise ValueError("is above 1 Gbit/s, so most likely bits read as kilobits")
    return found


def resolution(value: Any) -> tuple[int, int] | None:
    """Return (width, height) [pixels] of "1280x720"; None for "N/A"."""
    written = text(value)
    if written is None:
        return None
    match = _RESOLUTION.fullmatch(written)
    if match is None or not int(match[1]) or not int(match[2]):
        raise ValueError('is no resolution such as "1280x720"')
    return int(match[1]), int(match[2])


def frame_rate(value: Any) -> float | None:
    """Return frames a second; None for "N/A"."""
    if isinstance(value, str) and text(value) is None:
        return None
    return positive(value)


def samples(value: Any, zero: bool) -> tuple[float, ...]:
    """Return a series of finite samples above 0, or from 0 up where `zero` says so. Raises ValueError where one of them is not.

    One bad sample refuses the series: an integral over a gap or a counter's wrap would be a wrong number.
    """
    if not isinstance(value, (list, tuple)):
        raise ValueError("is no list of samples")
    return tuple(_sample(each, zero, index) for index, each in enumerate(value))


def _sample(value: Any, zero: bool, index: int) -> float:
    try:
        return from_zero(value) if zero else positive(value)
    except ValueError as error:
        raise ValueError(f"holds sample {index} ({value!r}), which {error}") from None


def streams(name: str) -> int | None:
    """Return how many streams a name tells: 4 of "4 Streams @ 5000k", None of "10 Mbps Stream"."""
    match = _STREAMS.search(name)
    if match is None:
        return None
    return int(match[1]) if match[1] else 1


def is_idle(name: str) -> bool:
    """Return whether a name is that of the idle measurement ("Baseline (Idle)"): it tells no streams."""
    return _IDLE.search(name) is not None and not streams(name)
