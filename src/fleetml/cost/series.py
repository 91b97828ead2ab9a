"""Prices and carbon intensities by UTC hour: the values, what is plausible of them, and files of them.

A file is CSV with a header, or a JSON list of objects, with the same names in any order:

    region,hour,price,currency,intensity
    eu-central-1,2026-11-22T03:00Z,0.081,EUR,312      price [currency/kWh], intensity [g CO2e/kWh]; either may be empty
    eu-west-1,,0.19,EUR,250                           no hour: whenever no hour of the region is named

An hour has its offset from UTC (``Z``, ``+01:00``), so the hour that a clock change repeats is two, and none is missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from fleetml.errors import ConfigurationError
from fleetml.frozen import field, frozen

Quantity = Literal["price", "intensity"]

HOUR = 3600
COLUMNS = ("region", "hour", "price", "currency", "intensity")
GRAMS = "g/kWh"

# Roughly how many of a currency are one of the larger ones, for currencies whose prices have other digits.
_PER_UNIT = {"JPY": 150, "KRW": 1400, "INR": 85, "CZK": 22, "HUF": 350, "SEK": 10, "NOK": 10, "DKK": 7, "CNY": 7}
_LOWEST, _HIGHEST = -1.0, 10.0  # per kWh; the European day-ahead market is limited to -0.5 and 4 EUR
_MOST_GRAMS = 2000.0  # per kWh; a bad coal plant emits about 1,200


@frozen
class Series:
    """Values of one quantity of one region.

    unit: ``USD/kWh`` (any currency) of a price, ``g/kWh`` of an intensity. source: who says so.
    values: by the start of the UTC hour [s since the epoch]. otherwise: the value of all other hours, None: unknown.
    """

    region: str
    quantity: Quantity
    unit: str
    source: str
    values: Mapping[int, float] = field(default_factory=dict)
    otherwise: float | None = None

    @property
    def currency(self) -> str:
        """The currency of a price."""
        return self.unit.partition("/")[0] if self.quantity == "price" else ""

    def at(self, when: float) -> float | None:
        """Return the value at a time [s since the epoch], None where it is not known."""
        return self.values.get(hour_of(when), self.otherwise)

    def mean(self, start: float, end: float) -> float | None:
        """Return the mean over a span, each hour by its share; None where one of them is not known."""
        spans = list(hours(start, end))
        values = [self.at(hour) for hour, _ in spans]
        if any(value is None for value in values):
            return None
        whole = sum(seconds for _, seconds in spans)
        if not whole:
            return values[0] if values else self.at(start)
        return (
            sum(value * seconds for value, (_, seconds) in zip(values, spans, strict=True) if value is not None) / whole
        )

    def between(self, start: float, end: float) -> list[tuple[int, float]]:
        """Return the known hours that begin in [start, end), in order, with their values."""
        return sorted((hour, value) for hour, value in self.values.items() if start <= hour < end)


def hour_of(when: float | datetime) -> int:
    """Return the start of the UTC hour [s since the epoch]. Raises ValueError for a datetime without an offset."""
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise ValueError(f"a time has an offset from UTC such as Z, {when.isoformat()} has none")
        when = when.timestamp()
    return math.floor(when / HOUR) * HOUR


def hours(start: float, end: float) -> Iterator[tuple[int, float]]:
    """Yield the UTC hours of a span [s since the epoch], each with the seconds of it in the span."""
    hour = hour_of(start)
    while hour < end or hour == hour_of(start):
        yield hour, max(0.0, min(end, hour + HOUR) - max(start, hour))
        hour += HOUR


def price_fault(value: float, currency: str) -> str:
    """Return what is wrong with a price [currency/kWh], "" for nothing. Negative ones are legal: grids pay to be relieved."""
    unit = _PER_UNIT.get(currency, 1)
    if not _LOWEST * unit <= value <= _HIGHEST * unit:
        return f"a price is from {_LOWEST * unit:g} to {_HIGHEST * unit:g} {currency}/kWh, got {value!r}"
    return ""


def intensity_fault(value: float) -> str:
    """Return what is wrong with a carbon intensity [g CO2e/kWh], "" for nothing."""
    return "" if 0 <= value <= _MOST_GRAMS else f"a carbon intensity is from 0 to {_MOST_GRAMS:g} g/kWh, got {value!r}"


def series(
    region: str, quantity: Quantity, unit: str, source: str, values: Iterable[tuple[float | datetime, float]]
) -> Series:
    """Return the hourly values of a region. Raises ValueError for an implausible one, or for an hour that comes twice."""
    found: dict[int, float] = {}
    for when, value in values:
        hour = hour_of(when)
        if fault := price_fault(value, unit.partition("/")[0]) if quantity == "price" else intensity_fault(value):
            raise ValueError(f"{fault} at {told(hour)}")
        if hour in found:
            raise ValueError(f"an hour has one value, {told(hour)} comes twice")
        found[hour] = float(value)
    return Series(region, quantity, unit, source, found)


def read(path: Path) -> tuple[Series, ...]:
    """Return what a file says, a series for each region and quantity. Raises ConfigurationError naming file and row."""
    rows = _rows(path)
    found: dict[tuple[str, Quantity], _Gathered] = {}
    for number, row in rows:
        place = f"{path}, row {number}"
        if unknown := set(row) - set(COLUMNS):
            raise _error(place, f"has the unknown column {min(map(str, unknown))!r}", f"known are {', '.join(COLUMNS)}")
        region = str(row.get("region") or "").strip()
        if not region:
            raise _error(place, "names no region", "write one")
        for quantity, unit, value in _values(row, place):
            gathered = found.setdefault((region, quantity), _Gathered(unit))
            gathered.take(row.get("hour"), value, unit, place)
    return tuple(
        Series(region, quantity, gathered.unit, path.name, gathered.values, gathered.otherwise)
        for (region, quantity), gathered in found.items()
    )


class _Gathered:
    """The values of one series while its file is read."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.values: dict[int, float] = {}
        self.otherwise: float | None = None

    def take(self, hour: Any, value: float, unit: str, place: str) -> None:
        if unit != self.unit:
            raise _error(
                place, f"gives a region's price in {unit} after {self.unit}", "keep one currency for each region"
            )
        if hour in (None, ""):
            if self.otherwise is not None:
                raise _error(place, "gives a region a second value without an hour", "remove one")
            self.otherwise = value
            return
        try:
            start = hour_of(datetime.fromisoformat(str(hour).strip()))
        except ValueError:
            raise _error(
                place, f"an hour is ISO 8601 with its offset, got {hour!r}", "write 2026-11-22T03:00Z"
            ) from None
        if start in self.values:
            raise _error(place, f"the hour {told(start)} comes twice", "local times need their offset; remove one")
        self.values[start] = value


def told(hour: float) -> str:
    """Return a time as people read it, in UTC."""
    return datetime.fromtimestamp(hour, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _values(row: Mapping[str, Any], place: str) -> Iterator[tuple[Quantity, str, float]]:
    if (price := _number(row, "price", place)) is not None:
        currency = str(row.get("currency") or "").strip()
        if not (len(currency) == 3 and currency.isalpha() and currency.isupper()):
            raise _error(place, f"a price has a currency of three letters, got {currency!r}", "write USD, EUR, …")
        if fault := price_fault(price, currency):
            raise _error(place, fault, "mend it; per MWh is a thousand times as much")
        yield "price", f"{currency}/kWh", price
    if (intensity := _number(row, "intensity", place)) is not None:
        if fault := intensity_fault(intensity):
            raise _error(place, fault, "mend it")
        yield "intensity", GRAMS, intensity


def _number(row: Mapping[str, Any], name: str, place: str) -> float | None:
    value = row.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise _error(place, f"{name} is a number, got {value!r}", "mend it, or leave it empty where it is not known")
    return number


def _rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of a file, CSV's numbered as editors do."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            found = json.loads(text)
            if not (isinstance(found, list) and all(isinstance(row, dict) for row in found)):
                raise ValueError("it is no list of objects")
            return list(enumerate(found, 1))
    except (OSError, ValueError, RecursionError) as error:
        raise _error(str(path), f"must be readable: {error}", "mend it") from None
    import csv

    reader = csv.DictReader(text.splitlines())
    try:
        if "region" not in (reader.fieldnames or ()):
            raise _error(str(path), "has no header with the column region", f"begin it with {','.join(COLUMNS)}")
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise _error(str(path), f"is no CSV: {error}", "mend it") from None


def _error(place: str, what: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{place}: {what}; {remedy}")
