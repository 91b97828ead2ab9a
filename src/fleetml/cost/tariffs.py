"""What a kWh costs and emits where and when a step ran: a setting, a file of ours, an API, a built-in table, in this order.

What APIs said is kept for an hour in the home, for all processes; one that did not answer, or said what cannot be so, is
left alone for five minutes. Nobody waits for one longer than `PATIENCE`, and nothing raised here ends a run.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from fleetml import atomic, breakers, lockfile
from fleetml.cost import regions
from fleetml.cost.estimate import Tariff
from fleetml.cost.series import GRAMS, HOUR, Quantity, Series, read
from fleetml.cost.settings import CostSettings
from fleetml.errors import ConfigurationError, Unavailable
from fleetml.frozen import asdict, mutable

PATIENCE = 4.0
"""Seconds that all APIs together have for their answers."""

_FRESH, _AGAIN = float(HOUR), 300.0  # s until an API is asked again, after an answer and after none
_KEPT = 7 * 24 * HOUR  # of hours that an API named

Token = Callable[[str], str]
"""Takes the name of a secret; returns its key ``token``, "" where there is none."""

Tell = Callable[[str], None]


class Tariffs:
    """The tariff of a region; one object for each run or process that asks.

    Raises ConfigurationError, naming the nearest, for a region that neither the table nor the file knows.
    """

    def __init__(
        self,
        settings: CostSettings,
        home: Path,
        token: Token = lambda name: "",
        tell: Tell = lambda line: None,
        region: str = "",
    ) -> None:
        self.settings, self.tell = settings, tell
        self.region = region or settings.region
        self._file = list(self._of_file())
        regions.require(self.region, [found.region for found in self._file], "a region")
        self._apis = list(_apis(settings, regions.TABLE.get(self.region), token, home / "tariffs"))
        self._asking: threading.Thread | None = None
        self._deadline = 0.0

    def ask(self) -> None:
        """Begin to ask the APIs whose answers are an hour old, and return at once."""
        stale = [api for api in self._apis if api.is_stale()]
        if stale and self._asking is None:
            self._deadline = time.monotonic() + PATIENCE
            self._asking = threading.Thread(target=self._ask, args=(stale,), name="tariffs", daemon=True)
            self._asking.start()

    def over(self, start: float, end: float) -> Tariff:
        """Return the tariff of a span [s since the epoch], each hour by its share of it."""
        self.ask()
        if self._asking is not None:
            self._asking.join(max(0.0, self._deadline - time.monotonic()))
            self._asking = None
        price, price_source = self._first("price", start, end)
        intensity, intensity_source = self._first("intensity", start, end)
        return Tariff(self.region, self.settings.currency, price, intensity, price_source, intensity_source)

    def series(self, quantity: Quantity) -> Iterator[Series]:
        """Yield what is known of a quantity by hour, the source that is asked first before the others."""
        yield from (found for found in self._file if found.region == self.region and found.quantity == quantity)
        yield from (found for api in self._apis if api.quantity == quantity and (found := api.known()))
        if region := regions.TABLE.get(self.region):
            money = quantity == "price"
            unit, value = ("USD/kWh", region.usd_per_kwh) if money else (GRAMS, region.grams_per_kwh)
            yield Series(self.region, quantity, unit, "table", {}, value)

    def _first(self, quantity: Quantity, start: float, end: float) -> tuple[float | None, str]:
        rates = self.settings.rates
        if (set_ := rates.price_per_kwh if quantity == "price" else rates.grams_per_kwh) is not None:
            return set_, "settings"
        for found in self.series(quantity):
            if found.currency not in ("", self.settings.currency):
                self.tell(
                    f"the price of {found.source} is in {found.currency}, runs are reckoned in {self.settings.currency} "
                    "(FLEETML_COST_CURRENCY): it is not used"
                )
            elif (value := found.mean(start, end)) is not None:
                return value, found.source
        return None, ""

    def _of_file(self) -> Iterator[Series]:
        place = self.settings.file
        if place is None:
            return
        try:
            found = place.stat()
            yield from _read(place, found.st_mtime_ns, found.st_size)
        except (OSError, ConfigurationError) as error:
            self.tell(f"FLEETML_COST_FILE is not used: {error}")

    def _ask(self, stale: list[_Api]) -> None:
        for api in stale:
            if fault := api.ask_once():
                self.tell(f"{api.name} is not used, the next source is: {fault}")


@mutable
class _Api:
    """One API's answers for a region, and the file that keeps them."""

    name: str
    quantity: Quantity
    question: Callable[[str, str, regions.Region, float], Series]
    address: str
    token: str
    region: regions.Region
    place: Path

    def is_stale(self) -> bool:
        """Say whether it is time to ask."""
        asked, fault = self._kept()[:2]
        return not 0 <= time.time() - asked < (_AGAIN if fault else _FRESH)

    def known(self) -> Series | None:
        """Return what it said; of one that fails now the hours it told before, and of no other."""
        asked, fault, found = self._kept()
        if found is None or fault or not 0 <= time.time() - asked < 2 * _FRESH:
            return found and Series(found.region, found.quantity, found.unit, found.source, found.values)
        return found

    def ask_once(self) -> str:
        """Ask it, unless another process did so meanwhile; return what is wrong, "" for nothing."""
        try:
            self.place.parent.mkdir(parents=True, exist_ok=True)
            with lockfile.held(self.place.with_suffix(".lock")):
                return self._ask() if self.is_stale() else ""
        except OSError as error:
            return f"its answer cannot be kept: {error}"

    def _ask(self) -> str:
        from fleetml.cost.apis import Refused

        before, fault, found = self._kept()[2], "", None
        try:
            with breakers.of(self.name, self.address, 3, _AGAIN).calling():
                found = self.question(self.address, self.token, self.region, time.time())
        except (Refused, Unavailable) as error:
            fault = str(error)
        except Exception as error:  # whatever else an answer, or a library that lacks, may cause
            fault = f"{type(error).__name__} {error}"
        if found is not None and before is not None:
            recent = {hour: value for hour, value in before.values.items() if hour > time.time() - _KEPT}
            found = Series(
                found.region, found.quantity, found.unit, found.source, {**recent, **found.values}, found.otherwise
            )
        kept = found or before
        atomic.write_json(self.place, {"asked": time.time(), "fault": fault, "series": kept and asdict(kept)})
        return fault

    def _kept(self) -> tuple[float, str, Series | None]:
        try:
            found = json.loads(self.place.read_text(encoding="utf-8"))
            told = found["series"]
            if told is not None:
                values = {int(hour): float(value) for hour, value in told.pop("values").items()}
                told = Series(**told, values=values)
            return float(found["asked"]), str(found["fault"]), told
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return 0.0, "", None


def _apis(settings: CostSettings, region: regions.Region | None, token: Token, folder: Path) -> Iterator[_Api]:
    """Yield the APIs that know the region and that we have a token of."""
    if region is None or not region.zone:
        return
    tokens = {name: known for name in ("electricity-maps", "eia") if (known := token(name))}
    if not tokens:
        return
    from fleetml import direct
    from fleetml.cost import apis  # here, as who has no token needs no HTTP

    maps, eia = "Electricity Maps", "EIA"
    if "electricity-maps" in tokens:
        direct.warn_of_clear(settings.electricity_maps)
        place, known = folder / f"electricity-maps-{region.name}.json", tokens["electricity-maps"]
        yield _Api(maps, "intensity", apis.electricity_maps, settings.electricity_maps, known, region, place)
    if "eia" in tokens and region.authority:
        direct.warn_of_clear(settings.eia)
        place, known = folder / f"eia-intensity-{region.name}.json", tokens["eia"]
        yield _Api(eia, "intensity", apis.eia_intensity, settings.eia, known, region, place)
        yield _Api(eia, "price", apis.eia_price, settings.eia, known, region, folder / f"eia-price-{region.name}.json")


@lru_cache(maxsize=4)
def _read(place: Path, changed: int, size: int) -> tuple[Series, ...]:
    """Return what a file says, read again when it was changed."""
    return read(place)
