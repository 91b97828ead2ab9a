"""Figures as people read them; the same in the terminal and in the HTML report."""

import math
from collections.abc import Mapping
from typing import Any

from fleetml.cost.estimate import read


def figure(value: Any, digits: int = 4) -> str:
    """Return a number with up to `digits` significant digits and no exponent, anything else as it is; None as ``-``."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (math.isfinite(value) and abs(value) >= 1e4):
        return f"{value:,.0f}"
    if 0 < abs(value) < 1e-3:
        return f"{value:.{1 - math.floor(math.log10(abs(value)))}f}"  # two significant digits
    return f"{value:.{digits}g}"


def figures(entries: Mapping[str, Any] | None) -> str:
    """Return at most three figures as ``rows 40, mase 0.91``."""
    return ", ".join(f"{name.replace('_', ' ')} {figure(value)}" for name, value in list((entries or {}).items())[:3])


def seconds(value: float) -> str:
    """Return a duration as ``0.4 s``, ``12 s`` or ``3 min 05 s``."""
    if value < 9.95:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def size(value: float | None) -> str:
    """Return bytes as ``512 B``, ``9.8 kB`` or ``1.2 MB``."""
    if value is None:
        return "-"
    for limit, unit in ((1e3, "B"), (1e6, "kB"), (1e9, "MB")):
        if value < limit:
            return f"{value / limit * 1e3:.3g} {unit}"
    return f"{value / 1e9:.3g} GB"


def share(value: float) -> str:
    """Return 0.183 as ``18.3 %``."""
    return f"{100 * value:.1f} %"


def money(amount: float | None, currency: str) -> str:
    """Return an amount with its currency, a dash for one that nobody knows."""
    return f"{figure(amount)} {currency}".rstrip()


def cost(total: Mapping[str, Any] | None) -> str:
    """Return what was used and what it cost, on one line."""
    found = read(total)
    gpu = f"{figure(found.gpu_seconds)} GPU-s, " if found.gpu_seconds else ""
    return (
        f"{figure(found.cpu_seconds)} CPU-s, {gpu}{figure(found.kwh)} kWh, "
        f"{money(found.money, found.currency)}, {figure(found.co2_grams)} g CO2"
    )
