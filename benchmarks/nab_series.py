"""NAB's 58 series with their windows and published figures (../shared/data/nab), and its windowed Gaussian, which proves the scorer."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet

from benchmarks.nab_scorer import Labelled, Numbers

REAL = Path(__file__).parents[2] / "shared/data/nab"
_WINDOW, _STEP, _FLAT, _ROOT = 6400, 100, 1e-6, 1.4142
_DIGITS = 12
"""As many digits NAB's published scores were written with: what is closer to 1 counts as 1."""


@dataclass(frozen=True)
class Series:
    """One series: name (category/file.csv), values [length], when [length], where its windows lie."""

    name: str
    values: Numbers
    times: npt.NDArray[np.datetime64]
    labels: Labelled


def read(folder: Path = REAL) -> Iterator[Series]:
    """Yield the series by name. Raises FileNotFoundError."""
    if not folder.exists():
        raise FileNotFoundError(f"the real data must lie in {folder}")
    windows = json.loads((folder / "combined_windows.json").read_text())
    table = parquet.read_table(folder / "nab_series.parquet")
    names = np.asarray(table["series"].to_pylist())
    times, values = table["timestamp"].to_numpy(), table["value"].to_numpy().astype(float)
    for name in sorted(set(names)):
        own = np.flatnonzero(names == name)
        found = [_steps(times[own], *pair) for pair in windows[name]]
        yield Series(name, values[own], times[own], Labelled(len(own), found))


def _steps(times: npt.NDArray[np.datetime64], first: str, last: str) -> tuple[int, int]:
    within = np.flatnonzero((times >= np.datetime64(first)) & (times <= np.datetime64(last)))
    return int(within[0]), int(within[-1])


def published(detector: str, folder: Path = REAL) -> dict[str, float]:
    """Return the published score of each series under the standard profile."""
    with gzip.open(folder / "published_scores_per_series.csv.gz", "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["detector"] == detector]
    return {row["File"]: float(row["Score"]) for row in rows if row["Profile"] == "standard"}


def windowed_gaussian(values: Numbers) -> Numbers:
    """Return how far each value is from the mean of the last 6400, as 1 - the tail of a normal distribution, [length].

    The window grows to its size, then moves on by 100 values at a time.
    """
    score = np.zeros(len(values))
    first = last = 0
    mean, spread = 0.0, 1.0
    for step, value in enumerate(values):
        if step:
            score[step] = 1 - 0.5 * math.erfc(abs(value - mean) / spread / _ROOT)
        if last - first < _WINDOW:
            last = step + 1
        elif step + 1 - last == _STEP:
            first, last = first + _STEP, last + _STEP
        else:
            continue
        seen = values[first:last]
        mean = seen.mean()
        spread = math.sqrt(float(((seen - mean) ** 2).mean())) or _FLAT
    return np.round(score, _DIGITS)
