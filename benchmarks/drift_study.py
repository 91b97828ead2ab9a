"""Which drift statistic, at which threshold? Alarms where nothing changed, and delay and share of found changes, on real series.

    python -m benchmarks.drift_study [august] [july] [azure] [--trials 8]

A trial takes 14 days of a series, in random order, as training (4,000 of its rows, as training samples its windows) and others
as live traffic: a request a VM and hour. Drawn at random, both are of one distribution, so that every alarm is a false one; what
makes days and VMs alike stays. The last day of traffic is judged each hour, as `monitor` does. For each kind of change
(`drift_fleets.SHIFTS`) it begins at a midnight; found is what alarms within three days; trials in which the alarm was on before
do not count. All judge the same windows. "as it came" are alarms a week on the rest of the series in its own order, in which
things may well have changed.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from benchmarks.drift_fleets import REAL, SHIFTS, Fleet, synthetic
from components.drift import statistics

TRAINED_DAYS, TRAINED_ROWS = 14, 4_000
HOURS = (1, 2, 3, 4, 6, 8, 10, 12, 15, 18, 21, 24, 30, 36, 48, 72)  # after the change, at which is looked
Floats = npt.NDArray[np.float64]
Values = Mapping[str, Floats]  # of one window: by statistic, of each feature


@dataclass(frozen=True)
class Detector:
    """An alarm: more than `share` of the features have at least `threshold` of `statistic` (0: one is enough)."""

    name: str
    statistic: str
    threshold: float
    share: float = 0.0

    def __call__(self, values: Values) -> bool:
        found = values[self.statistic] >= self.threshold
        return bool(found.any() if self.share == 0 else found.mean() >= self.share)


DETECTORS = (
    Detector("Evidently's defaults: half of the columns", "wasserstein", 0.1, 0.5),
    Detector("Evidently's defaults: any column", "wasserstein", 0.1),
    Detector("KL 0.1, half of the columns", "kl", 0.1, 0.5),
    Detector("KL 0.1, any column", "kl", 0.1),
    Detector("PSI 0.2, any column", "psi", 0.2),
    Detector("Jensen-Shannon 0.1, any column", "js", 0.1),
    Detector("energy 0.1, any column", "energy", 0.1),
    Detector("own terms, Wasserstein 1, 0.3 of the columns", "own wasserstein", 1.0, 0.3),
    Detector("own terms, Wasserstein 1, any column", "own wasserstein", 1.0),
    Detector("own terms, KL 0.1, any column", "own kl", 0.1),
    Detector("own terms, KL 0.4, any column", "own kl", 0.4),
    Detector("own terms, PSI 0.8, any column", "own psi", 0.8),
    Detector("own terms, Jensen-Shannon 0.3, any column", "own js", 0.3),
    Detector("own terms, energy 0.6, any column", "own energy", 0.6),
    Detector("own terms, MMD² 0.05, all columns together", "mmd", 0.05),
    Detector("own terms, classifier's AUC 0.8", "c2st", 0.8),
    Detector("own terms, KL 0.05 beyond the usual", "excess", 0.05),
    Detector("own terms, KL 0.2 beyond the usual", "excess", 0.2),
    Detector("FleetML: own terms, KL 0.1 beyond the usual", "excess", 0.1),
)
BASE, OURS = DETECTORS[0], DETECTORS[-1]


def main(arguments: Sequence[str]) -> int:
    """Print a table a fleet, in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "fleet", nargs="*", choices=[*REAL, "synthetic", []], help="default: the real ones that are here"
    )
    parser.add_argument("--trials", type=int, default=8)
    args = parser.parse_args(arguments)
    for name in args.fleet or [name for name, (path, _) in REAL.items() if path.exists()] or ["synthetic"]:
        fleet = synthetic() if name == "synthetic" else REAL[name][1]()
        print("\n".join(table(fleet, study(fleet, args.trials), as_it_came(fleet))), flush=True)
    return 0


@dataclass(frozen=True)
class Trial:
    """Windows that were judged: `calm` where nothing changed, `shifted` by kind at each of `HOURS`, and just before."""

    calm: list[Values]
    before: Values
    shifted: dict[str, list[Values]]


def study(fleet: Fleet, trials: int, kinds: Sequence[str] = SHIFTS) -> list[Trial]:
    """Judge the windows of so many trials, with changes of these kinds."""
    features = fleet.features()
    return [_trial(fleet, features, np.random.default_rng(seed), kinds) for seed in range(trials)]


def as_it_came(fleet: Fleet) -> list[Values]:
    """Judge the days after the first 14 by those."""
    features, days = fleet.features(), np.arange(fleet.days)
    judge = _Judge(fleet, _days(features, days[:TRAINED_DAYS]), np.random.default_rng(0))
    return _calm(features, days[TRAINED_DAYS:], judge)


def _calm(features: Floats, live: npt.NDArray[np.integer], judge: "_Judge") -> list[Values]:
    traffic = _days(features, live)
    return [judge(traffic[hour : hour + 24]) for hour in range(0, min(len(traffic), 14 * 24) - 23, 6)]


def _trial(fleet: Fleet, features: Floats, random: np.random.Generator, kinds: Sequence[str]) -> Trial:
    days = random.permutation(fleet.days)
    trained, live = days[:TRAINED_DAYS], days[TRAINED_DAYS:]
    judge = _Judge(fleet, _days(features, trained), random)
    shifted = {}
    for kind in kinds:
        later = fleet.features(fleet.shifted(kind, 0))  # the change has been there for more than a day
        first = fleet.features(fleet.shifted(kind, int(live[1])))
        after = np.concatenate([_days(features, live[:1]), _days(first, live[1:2]), _days(later, live[2:4])])
        shifted[kind] = [judge(after[hour : hour + 24]) for hour in HOURS if hour + 24 <= len(after)]
    return Trial(_calm(features, live, judge), judge(_days(features, live[:1])), shifted)


def _days(features: Floats, days: npt.NDArray[np.integer]) -> Floats:
    return np.concatenate([features[day * 24 : (day + 1) * 24] for day in days])


class _Judge:
    """Compares windows [24, VMs, features] with one training table by every statistic."""

    def __init__(self, fleet: Fleet, trained: Floats, random: np.random.Generator) -> None:
        self._columns, self._random = fleet.columns, random
        table = self._table(trained)
        table["origin"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(
            np.repeat(np.arange(len(trained)), trained.shape[1]), "h"
        )
        self._trained = table.sample(min(TRAINED_ROWS, len(table)), random_state=int(random.integers(2**31)))

    def _table(self, values: Floats) -> pd.DataFrame:
        table = pd.DataFrame(values.reshape(-1, values.shape[-1]), columns=self._columns)
        return table.assign(vm_id=np.tile(np.arange(values.shape[1]), len(values)).astype(str))

    def __call__(self, window: Floats) -> Values:
        live = self._table(window)
        own = statistics.own_terms(live, self._trained, self._columns)
        found = {name: self._each(measure, live, self._trained) for name, measure in MEASURES.items()}
        found |= {f"own {name}": self._each(measure, *own) for name, measure in MEASURES.items()}
        judged = statistics.judge(live, self._trained, self._columns)
        found["excess"] = np.array([each.excess for each in judged.values()])
        found["mmd"], found["c2st"] = (np.array([test(*own, self._random)]) for test in (_mmd, _c2st))
        return found

    def _each(self, measure: "Measure", live: pd.DataFrame, trained: pd.DataFrame) -> Floats:
        return np.array([_value(measure, live[column].dropna(), trained[column].dropna()) for column in self._columns])


def _value(measure: "Measure", live: pd.Series, trained: pd.Series) -> float:
    """Return 0 for a column without values: Evidently's report has none of it either."""
    return measure(live.to_numpy(), trained.to_numpy()) if len(live) else 0.0


Measure = Callable[[Floats, Floats], float]


def _shares(live: Floats, trained: Floats) -> tuple[Floats, Floats]:
    edges = np.unique(np.quantile(trained, np.linspace(0, 1, 11)[1:-1]))
    counts = [np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) + 0.5 for x in (live, trained)]
    return counts[0] / counts[0].sum(), counts[1] / counts[1].sum()


def _kl(live: Floats, trained: Floats) -> float:
    return float(stats.entropy(*_shares(live, trained)))


def _psi(live: Floats, trained: Floats) -> float:
    p, q = _shares(live, trained)
    return float(((p - q) * np.log(p / q)).sum())


def _js(live: Floats, trained: Floats) -> float:
    """The distance, with natural logarithms, as Evidently's."""
    p, q = _shares(live, trained)
    return float(np.sqrt((stats.entropy(p, (p + q) / 2) + stats.entropy(q, (p + q) / 2)) / 2))


def _wasserstein(live: Floats, trained: Floats) -> float:
    """Evidently's norm: the deviation of the training values."""
    return float(stats.wasserstein_distance(trained, live) / max(trained.std(), 0.001))


def _energy(live: Floats, trained: Floats) -> float:
    return float(stats.energy_distance(trained, live) / max(trained.std(), 0.001) ** 0.5)


MEASURES: dict[str, Measure] = {"wasserstein": _wasserstein, "kl": _kl, "psi": _psi, "js": _js, "energy": _energy}


def _mmd(live: pd.DataFrame, trained: pd.DataFrame, random: np.random.Generator, rows: int = 300) -> float:
    """Squared maximum mean discrepancy (Gretton et al., 2012), Gaussian kernel of the median distance; on so many rows."""
    x, y = (random.choice(table.fillna(0).to_numpy(), rows) for table in (live, trained))
    both = np.concatenate([x, y])
    squares = (both**2).sum(axis=1)
    distance = np.maximum(squares[:, None] + squares - 2 * both @ both.T, 0)
    kernel = np.exp(-distance / max(float(np.median(distance)), 1e-9))
    np.fill_diagonal(kernel, 0)
    pairs = rows * (rows - 1)
    return float(
        kernel[:rows, :rows].sum() / pairs + kernel[rows:, rows:].sum() / pairs - 2 * kernel[:rows, rows:].mean()
    )


def _c2st(live: pd.DataFrame, trained: pd.DataFrame, random: np.random.Generator, rows: int = 500) -> float:
    """AUC, on rows that it has not seen, of a classifier that tells live from training rows (Lopez-Paz, Oquab, 2017)."""
    from sklearn.metrics import roc_auc_score
    from sklearn.tree import DecisionTreeClassifier

    x = np.concatenate([random.choice(table.to_numpy(), rows) for table in (live, trained)])
    y = np.repeat([1, 0], rows)
    test = random.random(2 * rows) < 0.5
    model = DecisionTreeClassifier(max_depth=4, min_samples_leaf=20, random_state=0).fit(x[~test], y[~test])
    return float(roc_auc_score(y[test], model.predict_proba(x[test])[:, 1]))


@dataclass(frozen=True)
class Line:
    """Of one detector: false alarms in a week of hourly looks; by kind the share found and the mean hours until then."""

    detector: Detector
    false_alarms: float
    found: dict[str, tuple[float, float, int]]  # share, hours, trials that count


def lines(trials: Sequence[Trial]) -> Iterator[Line]:
    """Yield the figures of each detector."""
    for detector in DETECTORS:
        calm = np.mean([detector(values) for trial in trials for values in trial.calm])
        yield Line(detector, float(calm) * 168, {kind: _found(detector, trials, kind) for kind in trials[0].shifted})


def _found(detector: Detector, trials: Sequence[Trial], kind: str) -> tuple[float, float, int]:
    delays = []
    for trial in trials:
        if not detector(trial.before):
            alarms = (hour for hour, values in zip(HOURS, trial.shifted[kind], strict=False) if detector(values))
            delays.append(next(alarms, np.inf))
    seen = [delay for delay in delays if np.isfinite(delay)]
    return (len(seen) / len(delays) if delays else 0.0, float(np.mean(seen)) if seen else np.inf, len(delays))


def table(fleet: Fleet, trials: Sequence[Trial], came: Sequence[Values]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"\n{fleet.name}: {len(trials)} trials\n"
    yield "| alarm | false a week | as it came | " + " | ".join(SHIFTS) + " |"
    yield "|---|---:|---:|" + "---:|" * len(SHIFTS)
    for line in lines(trials):
        cells = [
            f"{share:.0%}, {hours:.0f} h" if seen and np.isfinite(hours) else ("never" if seen else "always on")
            for share, hours, seen in line.found.values()
        ]
        yield (
            f"| {line.detector.name} | {line.false_alarms:.1f} | {168 * np.mean([line.detector(v) for v in came]):.0f} | "
            + " | ".join(cells)
            + " |"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
