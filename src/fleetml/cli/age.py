"""Ages on the command line."""

from __future__ import annotations

import argparse
import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def age(text: str) -> float:
    """Return the seconds of ``90s``, ``15m``, ``12h``, ``30d`` or ``8w``. Raises ArgumentTypeError for any other text."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"an age is a number and one of s, m, h, d, w, got {text!r}; write e.g. 30d")
    return float(found[1]) * _UNITS[found[2]]
