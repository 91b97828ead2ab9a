"""Dates as numbers inside a graph: the civil calendar by whole-number arithmetic on UTC seconds.

The conversion from days to year, month and day counts years from 1 March, so that a leap day ends its year
(Gregorian rules: a leap year each 4, not each 100, but each 400 years).
"""

import numpy as np
import numpy.typing as npt
import polars as pl
from onnx import TensorProto

from fleetml.errors import InvalidData
from fleetml.learn.builder import Builder

MISSING = int(np.iinfo(np.int64).min)  # the seconds of a date that is not known
_FIRST, _LAST = -62_135_596_800, 253_402_300_799  # the years 1 to 9999
_DAY = 86_400
_FROM_MARCH = 719_468  # days from 0000-03-01 to 1970-01-01
NUMBERS = ("day", "year", "month", "weekday", "hour", "day_of_year")
CYCLES = ("month", "weekday", "hour", "day_of_year")
_LENGTHS = {"month": 12.0, "weekday": 7.0, "hour": 24.0, "day_of_year": 365.25}


def seconds(column: pl.Series) -> pl.Series:
    """Return a column of dates as UTC seconds, int64 without nulls; whole numbers are taken for such. Raises InvalidData."""
    try:
        if column.dtype == pl.String:
            column = column.str.to_datetime(time_unit="us", strict=True)
        made = column.dt.epoch("s") if column.dtype in (pl.Date, pl.Datetime) else column.cast(pl.Int64)
    except pl.exceptions.PolarsError as error:
        said = " ".join(str(error).split())[:200]
        raise InvalidData(f"feature {column.name!r} must hold dates: {said}; mend the data") from None
    return made.fill_null(MISSING)


def typical(values: npt.NDArray[np.generic]) -> int:
    """Return the median of known seconds; 1970 where none is."""
    known = values[values != MISSING]
    return int(np.median(known)) if len(known) else 0


def calendar(made: Builder, when: str, usual: list[int]) -> tuple[str, dict[str, str]]:
    """Add what the calendar says of seconds int64 [batch, D].

    Returns whether each is missing (bool [batch, D]) and name -> float32 [batch, D] of `NUMBERS`; day counts from 1970,
    fractions included; weekday 0 is Monday; of a missing date the numbers are those of `usual` (seconds).
    """
    missing = made.op("Equal", when, made.integers(MISSING))
    known = made.op("Where", missing, made.constant([usual], np.int64), when)
    known = made.op("Min", made.op("Max", known, made.integers(_FIRST)), made.integers(_LAST))
    whole = _Whole(made)
    shifted = whole("Add", known, _FROM_MARCH * _DAY)
    days, within = whole("Div", shifted, _DAY), whole("Mod", shifted, _DAY)
    year, month = _civil(whole, days)
    before = whole("Sub", year, 1)
    leaps = whole("Sub", whole("Div", before, 4), whole("Div", before, 100))
    leaps = whole("Add", leaps, whole("Div", before, 400))
    start = whole("Add", whole("Add", whole("Mul", before, 365), leaps), 306)
    found = {
        "year": year,
        "month": month,
        "weekday": whole("Mod", whole("Add", days, 2), 7),
        "day_of_year": whole("Add", whole("Sub", days, start), 1),
    }
    numbers = {name: made.op("Cast", value, to=TensorProto.FLOAT) for name, value in found.items()}
    hours = made.op("Cast", within, to=TensorProto.FLOAT)
    numbers["hour"] = made.op("Div", hours, made.constant([3600.0]))
    whole_days = made.op("Cast", whole("Sub", days, _FROM_MARCH), to=TensorProto.FLOAT)
    numbers["day"] = made.op("Add", whole_days, made.op("Div", hours, made.constant([float(_DAY)])))
    return missing, {name: numbers[name] for name in NUMBERS}


def cycles(made: Builder, numbers: dict[str, str]) -> list[str]:
    """Add sine and cosine [batch, D] of each number that comes again."""
    found = []
    for name in CYCLES:
        angle = made.op("Mul", numbers[name], made.constant([2 * np.pi / _LENGTHS[name]]))
        found += [made.op("Sin", angle), made.op("Cos", angle)]
    return found


class _Whole:
    """Whole-number operations with a tensor or a constant on the right; all numbers are positive: Div rounds down."""

    def __init__(self, made: Builder) -> None:
        self.made = made

    def __call__(self, kind: str, left: str, right: str | int) -> str:
        return self.made.op(kind, left, self.made.integers(right) if isinstance(right, int) else right)


def _civil(whole: _Whole, days: str) -> tuple[str, str]:
    """Days from 0000-03-01 → year and month (1 to 12)."""
    era = whole("Div", days, 146_097)
    of_era = whole("Mod", days, 146_097)
    corrected = whole("Sub", of_era, whole("Div", of_era, 1_460))
    corrected = whole("Add", corrected, whole("Div", of_era, 36_524))
    corrected = whole("Sub", corrected, whole("Div", of_era, 146_096))
    years = whole("Div", corrected, 365)
    passed = whole("Add", whole("Mul", years, 365), whole("Div", years, 4))
    passed = whole("Sub", passed, whole("Div", years, 100))
    from_march = whole("Div", whole("Add", whole("Mul", whole("Sub", of_era, passed), 5), 2), 153)
    # 0 is March, 10 and 11 are January and February of the next year.
    late = whole("Div", from_march, 10)
    month = whole("Sub", whole("Add", from_march, 3), whole("Mul", late, 12))
    year = whole("Add", whole("Add", years, whole("Mul", era, 400)), late)
    return year, month
