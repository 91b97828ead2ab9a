"""What is saved by waiting, and by going elsewhere, against running at once (needs ../shared).

Money on day-ahead prices (EPF: NP, BE, FR; their second years), CO2 on hourly intensities (OpenDC 2023 and 2024; EnsembleCI 2021): never
both, as the years do not overlap. What the forecasts of `fleetml.cost.ahead` were chosen on lies before. Known at a time are prices up to the
last auction (13 h of the day before) and intensities up to the hour before. A run is asked for every 11 hours; the oracle knows the
future. At other times it is asked for when dags/train_forecaster is due: the night is cheap already. In several regions "at once" is the mean
of beginning in each of them; data are moved for free.
The instances: the cheapest that keeps a deadline, chosen on the first half of the runs of EC2 transcode times, judged on the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean

import polars as pl

from fleetml.cost.ahead import Expected, expect
from fleetml.cost.schedule import Offer, Plan, amount, plans
from fleetml.cost.series import HOUR, Quantity, Series

DATA = Path(__file__).parents[2] / "shared/data"
DEADLINES = (6, 12, 24, 48)  # h
EVERY = 11  # h: each hour of the day and of the week comes
Kind = tuple[int, bool, bool]
"""How long a run takes [h], whether it may be interrupted, whether it is asked for again each hour until it begins."""
RUNS: dict[str, Kind] = {
    "1 h": (1, False, False),
    "1 h asked again": (1, False, True),
    "4 h": (4, False, False),
    "4 h in parts": (4, True, False),
}
WEEKLY: dict[str, Kind] = {
    "1 h from Monday 03:00": (1, False, False),
    "1 h from Monday 03:00 asked again": (1, False, True),
}
DAY = 24 * HOUR
# USD/h on demand, us-east-1 (SOURCE.md of the set): 2xlarge and so on cost as many times large as they have its cores
PRICES = {
    f"{family}.{size}": price * times
    for family, price in (("c5", 0.085), ("m5", 0.096))
    for size, times in (("large", 1), ("xlarge", 2), ("2xlarge", 4), ("4xlarge", 8))
}
Known = Callable[[float], float]
"""Now [s] -> the time before which the values of hours are known."""


def auctioned(now: float) -> float:
    """Prices of a day are known from 13 h of the day before (the auction ends at noon)."""
    return (now // DAY + (2 if now % DAY >= 13 * HOUR else 1)) * DAY


def measured(now: float) -> float:
    """Intensities are known of hours that are over."""
    return now // HOUR * HOUR


def run() -> Iterator[tuple[str, float, str]]:
    """Yield the shares saved, and the oracle's, by place, length of run and deadline."""
    if not DATA.exists():
        raise FileNotFoundError(f"the published series must lie in {DATA}")
    for what, places, known, begin in _series():
        end = min(max(each.values) for each in places) - max(DEADLINES) * HOUR
        always = range(int(begin.timestamp()), int(end), EVERY * HOUR)
        weekly = range(_monday(begin.timestamp()), int(end), 7 * DAY)
        for set_of in [*([each] for each in places), *_together(places)]:
            name = " or ".join(each.region for each in set_of)
            for asked, kinds in ((always, RUNS), (weekly, WEEKLY)):
                for kind, deadline, ours, best in _saved(set_of, known, asked, kinds):
                    yield f"{what}, {name}, {kind} within {deadline} h", ours, "% saved"
                    yield f"{what}, {name}, {kind} within {deadline} h, oracle", best, "% saved"
    yield from _instances()


def _monday(begin: float) -> int:
    """Return the first Monday after `begin` at 03:00, when dags/train_forecaster is due; the epoch was a Thursday."""
    return int(-(-(begin - 4 * DAY) // (7 * DAY)) * 7 * DAY + 4 * DAY + 3 * HOUR)


def _together(places: Sequence[Series]) -> Iterator[list[Series]]:
    """Yield those of the same years."""
    spans = [min(each.values) for each in places]
    same = [each for each, first in zip(places, spans, strict=True) if spans.count(first) > 1]
    if len(same) > 1:
        yield same


def _saved(
    places: Sequence[Series], known: Known, asked: Sequence[int], kinds: Mapping[str, Kind]
) -> Iterator[tuple[str, int, float, float]]:
    """Yield run, deadline [h], and what ours and the oracle save [%]."""
    truths = {each.region: each.values.get for each in places}
    foreseen = [(now, {each.region: expect(each, known(now)) for each in places}) for now in asked]
    for kind, (length, parts, again) in kinds.items():
        offers = [Offer(each.region, length * HOUR, 1.0) for each in places]
        for deadline in ([length] if len(places) > 1 and not parts else []) + [d for d in DEADLINES if d > length]:
            at_once, ours, best = 0.0, 0.0, 0.0
            for now, expected in foreseen:
                until = now + deadline * HOUR
                (chosen, *_), (ideal, *_) = (
                    plans(offers, now, until, rates, money=False, interruptible=parts) for rates in (expected, truths)
                )
                if again:
                    chosen = _again(chosen, offers, now, until, places, known)
                ours += _true(chosen, truths)
                best += ideal.amount
                at_once += fmean(_true(Plan(it, ((now, now + length * HOUR),), 0, None), truths) for it in offers)
            yield kind, deadline, 100 * (1 - ours / at_once), 100 * (1 - best / at_once)


def _again(
    chosen: Plan, offers: Sequence[Offer], now: float, until: float, places: Sequence[Series], known: Known
) -> Plan:
    """Return the plan that begins first when it is asked for again each hour, as `fleetml recommend when --wait` does."""
    while chosen.begins > now:
        now += HOUR
        if chosen.begins > now:
            expected = {each.region: expect(each, known(now)) for each in places}
            chosen = plans(offers, now, until, expected, money=False)[0]
    return chosen


def _true(plan: Plan, truths: dict[str, Expected]) -> float:
    found = amount(plan.offer, plan.spans, truths[plan.offer.region], money=False)
    if found is None:
        raise ValueError(f"an hour of {plan.offer.region} is missing")
    return found


def _series() -> Iterator[tuple[str, list[Series], Known, datetime]]:
    """Yield what is saved, the series, what of them is known when, and from when on it is judged."""
    epf = pl.read_parquet(DATA / "epf/epf_prices_and_forecasts.parquet").rename({"market": "zone", "Real price": "v"})
    of = pl.col("zone").is_in
    kwh = epf.with_columns(pl.col("v").cast(pl.Float64) / 1000)  # EUR/MWh; its local times are taken for UTC
    yield "money", _places(kwh.filter(of(["NP"])), "price", "EUR/kWh"), auctioned, _day(2018)
    yield "money", _places(kwh.filter(of(["BE", "FR"])), "price", "EUR/kWh"), auctioned, _day(2016)
    folder = DATA / "carbon_intensity"
    opendc = pl.read_parquet(folder / "opendc_hourly_2021-2024.parquet").rename({"timestamp": "time"})
    yield "CO2 (life cycle)", _places(_intensity(opendc)), measured, _day(2023)
    direct = pl.read_parquet(folder / "ensembleci_direct_hourly.parquet").with_columns(
        pl.col("time").dt.replace_time_zone(None)
    )
    year = direct.filter(pl.col("time").dt.year().is_in([2020, 2021]))
    yield "CO2 (direct)", _places(_intensity(year)), measured, _day(2021)


def _intensity(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select("zone", "time", v=pl.col("carbon_intensity").cast(pl.Float64))


def _places(frame: pl.DataFrame, quantity: Quantity = "intensity", unit: str = "g/kWh") -> list[Series]:
    """Return a series for each zone of a table of zone, time (UTC) and v."""
    seconds = frame.with_columns(pl.col("time").dt.replace_time_zone("UTC").dt.epoch("s"))
    return [
        Series(str(zone), quantity, unit, "published", dict(zip(part["time"], part["v"], strict=True)))
        for (zone,), part in sorted(seconds.group_by("zone"))
    ]


def _day(year: int) -> datetime:
    return datetime.fromisoformat(f"{year}-01-01T00:00:00Z")


def _instances() -> Iterator[tuple[str, float, str]]:
    """Yield what the choice of an instance costs beside others, over deadlines from the fastest instance's time to the slowest's."""
    times = pl.read_csv(DATA / "ec2_transcode_times/ec2_transcode_times.csv.gz").filter(
        pl.col("instance").is_in(list(PRICES))
    )
    totals, missed, count = dict.fromkeys(("ours", "the fastest", "oracle"), 0.0), 0, 0
    for _, jobs in times.group_by("codec", "threads"):
        taken = {str(name): part["seconds"].to_list() for (name,), part in jobs.group_by("instance")}
        offers = [_offer(name, seconds[:15]) for name, seconds in sorted(taken.items())]
        fastest = min(offers, key=lambda it: it.longest)
        low, high = fastest.longest, max(it.longest for it in offers)
        for deadline in (low + (high - low) * step / 20 for step in range(21)):
            chosen = plans(offers, 0, deadline, {"": lambda _: 0.0}, money=True)[0].offer
            for number in range(15, 30):
                spent = {name: taken[name][number] / 3600 * PRICES[name] for name in taken}
                in_time = [name for name in taken if taken[name][number] <= deadline]
                totals["ours"] += spent[chosen.instance]
                totals["the fastest"] += spent[fastest.instance]
                totals["oracle"] += min(spent[name] for name in in_time or [fastest.instance])
                missed += chosen.instance not in in_time
                count += 1
    yield "instance, cheapest that keeps the deadline", 100 * (1 - totals["ours"] / totals["the fastest"]), "% saved"
    yield "instance, oracle", 100 * (1 - totals["oracle"] / totals["the fastest"]), "% saved"
    yield "instance, deadlines missed", 100 * missed / count, "%"


def _offer(name: str, seconds: Sequence[float]) -> Offer:
    """Return an instance as its first runs show it, charged by the second."""
    return Offer("", fmean(seconds), 0.0, name, PRICES[name], longest=max(seconds))
