"""Offers from a CSV file: where a run may go, and what it takes there.

region,instance,hours,kwh,per_hour,currency,longest_hours
eu-central-1,c5.4xlarge,1.5,0.4,0.776,USD,2        per_hour: of the instance, beside its energy; empty: 0
eu-west-1,,3,0.5,,,                                 longest_hours: what it may take; empty: hours
"""

from __future__ import annotations

import csv
from pathlib import Path

from fleetml.cost.schedule import Offer
from fleetml.cost.series import HOUR
from fleetml.errors import ConfigurationError

COLUMNS = ("region", "instance", "hours", "kwh", "per_hour", "currency", "longest_hours")
_NEEDED = ("region", "hours", "kwh")


def read(path: Path, currency: str) -> list[Offer]:
    """Return the offers of a file; `currency` is that of rows which name none.

    Raises ConfigurationError naming file and row, for another currency too: amounts are in one.
    """
    try:
        rows = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
        named = rows.fieldnames or ()
        if unknown := set(named) - set(COLUMNS) | set(_NEEDED) - set(named):
            raise ValueError(
                f"its header has the columns {', '.join(named) or 'none'} ({min(unknown)!r} is unknown or lacks)"
            )
        found = [_offer(row, f"{path}, row {rows.line_num}", currency) for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigurationError(f"offers are CSV of {','.join(COLUMNS)}, got {path}: {error}; mend it") from None
    if not found:
        raise ConfigurationError(f"offers are at least one row, {path} has none; write where the run may go")
    return found


def _offer(row: dict[str, str], place: str, currency: str) -> Offer:
    def number(name: str, usual: float | None = None) -> float:
        text = (row.get(name) or "").strip()
        if not text and usual is not None:
            return usual
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        least = "above" if name == "hours" else "from"
        if not (0 < value < float("inf") or (value == 0 and name != "hours")):
            raise ConfigurationError(f"{place}: {name} is a number {least} 0, got {text!r}; mend it")
        return value

    if (given := (row.get("currency") or currency).strip()) != currency:
        raise ConfigurationError(
            f"{place}: amounts are in {currency} (FLEETML_COST_CURRENCY), got {given}; give what it costs in {currency}"
        )
    region, hours = (row.get("region") or "").strip(), number("hours")
    if not region:
        raise ConfigurationError(f"{place}: an offer names its region, got none; write one")
    return Offer(
        region=region,
        seconds=hours * HOUR,
        kwh=number("kwh"),
        instance=(row.get("instance") or "").strip(),
        per_hour=number("per_hour", 0.0),
        currency=currency,
        longest=number("longest_hours", 0.0) * HOUR,
    )
