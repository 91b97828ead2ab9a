"""Prices and carbon intensities as public APIs tell them, checked before anybody reckons with them.

Electricity Maps: life-cycle intensity of a zone's consumption. EIA (USA): hourly generation by fuel of a balancing
authority, made an intensity here, and the monthly price of a state's commercial sector.
"""

from __future__ import annotations

import http.client
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from fleetml import direct
from fleetml.cost.regions import Region
from fleetml.cost.series import GRAMS, HOUR, Series, series, told

TIMEOUT = 3.0
"""Seconds for an answer to begin; what comes slower is cut off by who asks."""

_LARGEST = 2**20  # bytes
_DAY = 24 * HOUR
_OLDEST_INTENSITY, _OLDEST_GENERATION, _OLDEST_PRICE = 6 * HOUR, 2 * _DAY, 270 * _DAY
_MIX_ROWS = 300  # of the EIA's mix, one for each hour and fuel: a day and more
_AHEAD = 2 * HOUR  # what a clock or an estimate may be before ours

# Direct emissions [g CO2/kWh] by the EIA's codes of fuels: its averages for the USA in 2023, pounds per kWh times 453.6
# (https://www.eia.gov/tools/faqs/faq.php?id=74). What stores energy, or is not told apart (OTH), is left out.
_GRAMS_OF_FUEL = {"COL": 1048.0, "NG": 435.0, "PET": 1116.0, "OIL": 1116.0}
_CLEAN_FUELS = ("NUC", "WAT", "SUN", "WND", "GEO", "SNB", "WNB")


class Refused(Exception):
    """An API did not answer, or what it says cannot be so."""


def electricity_maps(address: str, token: str, region: Region, now: float) -> Series:
    """Return the intensity of a region's zone over the last day [g CO2e/kWh]. Raises Refused."""
    question = f"{address}/v3/carbon-intensity/history?{urllib.parse.urlencode({'zone': region.zone})}"
    found = _entries(_asked(question, {"auth-token": token}), "history")

    def values() -> Iterator[tuple[float, float]]:
        for row in found:
            _require(row, "zone", region.zone)
            _require(row, "unit", "gCO2eq/kWh", optional=True)
            value = _number(row, "carbonIntensity")
            if value < 1:
                raise Refused(f"a life-cycle intensity is from 1 g/kWh, got {value!r} (another unit?)")
            yield _time(str(row.get("datetime"))), value

    return _latest(region, values(), "Electricity Maps", now, _OLDEST_INTENSITY)


def eia_intensity(address: str, token: str, region: Region, now: float) -> Series:
    """Return the direct intensity of what a region's balancing authority generated in the last day [g CO2/kWh]. Raises Refused."""
    facets = {"frequency": "hourly", "data[0]": "value", "facets[respondent][]": region.authority}
    mix: dict[str, list[float]] = {}
    rows = _eia(f"{address}/v2/electricity/rto/fuel-type-data/data/", token, {**facets, "length": str(_MIX_ROWS)})
    for row in rows:
        _require(row, "respondent", region.authority)
        _require(row, "value-units", "megawatthours")
        fuel, energy = str(row.get("fueltype")), _number(row, "value")
        if energy > 0 and (fuel in _GRAMS_OF_FUEL or fuel in _CLEAN_FUELS):
            sums = mix.setdefault(str(row.get("period")), [0.0, 0.0])
            sums[0] += energy
            sums[1] += energy * _GRAMS_OF_FUEL.get(fuel, 0.0)
    if len(rows) >= _MIX_ROWS:  # newest first: of the oldest hour some fuels may be cut off
        mix.pop(str(rows[-1].get("period")), None)
    values = [(_time(f"{period}:00Z"), grams / energy) for period, (energy, grams) in mix.items()]
    return _latest(region, values, "EIA", now, _OLDEST_GENERATION)


def eia_price(address: str, token: str, region: Region, now: float) -> Series:
    """Return the latest monthly price of a region's state, commercial sector [USD/kWh]. Raises Refused."""
    facets = {
        "frequency": "monthly",
        "data[0]": "price",
        "facets[stateid][]": region.state,
        "facets[sectorid][]": "COM",
    }
    row = _eia(f"{address}/v2/electricity/retail-sales/data/", token, {**facets, "length": "1"})[0]
    _require(row, "stateid", region.state)
    _require(row, "price-units", "cents per kilowatt-hour")
    cents, month = _number(row, "price"), _time(f"{row.get('period')}-01T00:00Z")
    if not 0.5 <= cents <= 100:
        raise Refused(f"a month's price is from 0.5 to 100 cents/kWh, got {cents!r}")
    _require_recent(month, now, _OLDEST_PRICE)
    return Series(region.name, "price", "USD/kWh", "EIA", {}, cents / 100)


Ask = Callable[[str, str, Region, float], Series]


def _latest(region: Region, values: Iterable[tuple[float, float]], source: str, now: float, oldest: float) -> Series:
    """Return intensities by the hour; hours that are not among them are as the latest is."""
    try:
        found = series(region.name, "intensity", GRAMS, source, values)
    except ValueError as error:
        raise Refused(str(error)) from None
    if not found.values:
        raise Refused("it names no hour")
    newest = max(found.values)
    _require_recent(newest, now, oldest)
    return Series(region.name, "intensity", GRAMS, source, found.values, found.values[newest])


def _require_recent(when: float, now: float, oldest: float) -> None:
    if not now - oldest <= when <= now + _AHEAD:
        raise Refused(f"its latest value is at most {oldest / HOUR:g} h old, got one of {told(when)}")


def _eia(address: str, token: str, question: Mapping[str, str]) -> list[Mapping[str, Any]]:
    newest = {"sort[0][column]": "period", "sort[0][direction]": "desc", "api_key": token}
    body = _asked(f"{address}?{urllib.parse.urlencode({**question, **newest})}", {})
    return _entries(body.get("response"), "data")


def _entries(body: Any, name: str) -> list[Mapping[str, Any]]:
    found = body.get(name) if isinstance(body, dict) else None
    if not (isinstance(found, list) and found and all(isinstance(row, dict) for row in found)):
        raise Refused(f"its answer has a list '{name}' of objects, this one has none")
    return found


def _require(row: Mapping[str, Any], name: str, wanted: str, optional: bool = False) -> None:
    if row.get(name) != wanted and not (optional and name not in row):
        raise Refused(f"'{name}' of its answer must be {wanted!r}, got {row.get(name)!r}")


def _number(row: Mapping[str, Any], name: str) -> float:
    """Return a number; the EIA writes its own as texts."""
    try:
        value = math.nan if isinstance(row.get(name), bool) else float(row[name])
    except (LookupError, TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise Refused(f"'{name}' of its answer is a number, got {row.get(name)!r}")
    return value


def _time(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"a time is ISO 8601, got {text!r}") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _asked(address: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the object an API answers. The address may hold a token, so it is in no message."""
    request = urllib.request.Request(address, headers={"Accept": "application/json", **headers})  # noqa: S310 - a setting
    try:
        with direct.opener(address).open(request, timeout=TIMEOUT) as answer:
            content = answer.read(_LARGEST + 1)
    except urllib.error.HTTPError as error:
        raise Refused(f"it answers HTTP {error.code}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:  # the last two: what is no address, or no HTTP
        raise Refused(f"it does not answer: {getattr(error, 'reason', None) or type(error).__name__}") from None
    try:
        found = json.loads(content) if len(content) <= _LARGEST else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        kind = "HTML" if content.lstrip()[:1] == b"<" else "none"  # it is not quoted, as it may repeat the token
        raise Refused(f"its answer is a JSON object, this one is {kind}")
    return found
