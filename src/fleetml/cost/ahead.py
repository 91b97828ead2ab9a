"""What is expected of an hourly series where it is not known yet, from nothing but what was known at the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from fleetml.cost.series import HOUR, Series, hour_of

Expected = Callable[[int], float | None]
"""Start of a UTC hour [s since the epoch] -> what is expected of it; None where nothing says."""

_DAY = 24 * HOUR
_DAYS = 14  # these two were chosen on the first years of nine series of price and intensity (benchmarks/when_to_run.py)
_PERSISTS = 0.95


def expect(series: Series, known: float) -> Expected:
    """Return what to expect of each hour: its value where that begins before `known` [s], else a forecast of those values alone.

    The forecast is the mean of that hour of the day in the last two weeks before `known`, plus how far the last known value lies
    from such a mean of its own, which persists by 95 % an hour. Where none was measured it is the series' value of other hours.
    """
    end = hour_of(known) + (HOUR if known % HOUR else 0)
    values = series.values
    last = next((hour for hour in range(end - HOUR, end - HOUR - _DAY, -HOUR) if hour in values), None)
    before = None if last is None else _mean(values, last - _DAY)
    off = 0.0 if last is None or before is None else values[last] - before

    @cache
    def usual(hour: int) -> float | None:
        return _mean(values, hour)

    def expected(hour: int) -> float | None:
        if hour < end and hour in values:
            return values[hour]
        mean = usual(end - _DAY + (hour - end) % _DAY)
        if mean is None:
            return series.otherwise
        return mean + (off * _PERSISTS ** ((hour - last) / HOUR) if last is not None and hour > last else 0.0)

    return expected


def _mean(values: Mapping[int, float], latest: int) -> float | None:
    """Return the mean of an hour of the day over two weeks, the latest of which is `latest`."""
    found = [values[hour] for hour in range(latest, latest - _DAYS * _DAY, -_DAY) if hour in values]
    return sum(found) / len(found) if found else None
