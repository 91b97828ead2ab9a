"""Many metrics of one machine: how far its last steps are from those it was fitted on, by the Mahalanobis distance of windows.

The rows are looked at twice: as they are, and less the mean of the last `recent` rows, so that a machine that has moved to
another level is not an anomaly for ever. Each look scales them (their distance from the middle in widths, of which the first takes
asinh, the second is bounded), takes `steps` consecutive ones as one vector, whose covariance, shrunk as Ledoit and Wolf (2004) do, knows which metrics move together, and
how they follow each other in time; and gives the mean distance of the last `smooth` windows. The score is the product of these,
the second to the power of `weight`, in multiples of the threshold: what the fraction `ALARMS` of the fitted rows exceeded. No
labels are needed; where anomalies may be among the fitted rows, `trim` leaves out the farthest windows, and fits again, and sets
the threshold, without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx

from fleetml.errors import InvalidData
from fleetml.learn import scorer

KIND = "window_anomaly"
FAMILY = "mahalanobis"
ALARMS = 0.001
FARTHEST = 1e6
"""A value farther from the middle [widths] counts as so far."""
NEAREST = 1e-6
"""A mean distance of less counts as this."""
Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_READ = 3000
_CHUNK = 4096


@dataclass(frozen=True)
class Settings:
    """Rows of a window, windows of a mean, rows that the second look takes the mean of (0: there is none), and its weight.

    `least` and `least_recent` are the least width of a metric, as it is and as it differs from its mean [units], `clip` is
    the bound of such a difference [widths], `ridge` variance added to each metric's [widths^2]; `trim` is the share of windows that a second fit leaves out.
    """

    steps: int = 12
    smooth: int = 10
    recent: int = 10
    weight: float = 0.5
    least: float = 0.03
    least_recent: float = 0.02
    clip: float = 5.0
    ridge: float = 0.002
    trim: float = 0.0

    @property
    def before(self) -> int:
        """How many rows the first window needs before its own."""
        return max(self.recent - 1, 0)

    @property
    def about(self) -> int:
        """How many rows, the last, a score is about."""
        return self.steps + self.smooth - 1

    @property
    def rows(self) -> int:
        """How many rows a score takes."""
        return self.before + self.about


@dataclass(frozen=True)
class Look:
    """centre, width [C] of a row; middle [steps * C] of a window, whitener [steps * C, steps * C]; power of its distance.

    `clip` is the bound of a value [widths]; None: asinh of it.
    """

    steps: int
    centre: Numbers
    width: Numbers
    middle: Numbers
    whitener: Numbers
    weight: float = 1.0
    clip: float | None = None

    @classmethod
    def fit(cls, rows: Sequence[Numbers], recent: bool, settings: Settings, usual: Flags | None) -> Look:
        """Return it from the rows [N, C] of each machine; `usual` says which of their windows count, None: all."""
        every, least = np.concatenate(rows), settings.least_recent if recent else settings.least
        centre, width = every.mean(axis=0), np.maximum(every.std(axis=0), least)
        clip, weight = (settings.clip, settings.weight) if recent else (None, 1.0)
        windows = np.concatenate([_windows(_scaled(one, centre, width, clip), settings.steps) for one in rows])
        some = windows if usual is None else windows[usual]
        return cls(settings.steps, centre, width, *_whitening(some, settings.ridge), weight, clip)

    def distance(self, rows: Numbers) -> Numbers:
        """Return the squared distance of each window of rows [N, C]: [N - steps + 1]."""
        windows = _windows(_scaled(rows, self.centre, self.width, self.clip), self.steps)
        parts = [windows[at : at + _CHUNK] - self.middle for at in range(0, len(windows), _CHUNK)]
        return np.concatenate([((part @ self.whitener) ** 2).sum(axis=1) for part in parts])


@dataclass(frozen=True)
class Detector:
    """looks: at the rows as they are, and, where `recent` is above 0, less their recent mean; the threshold of their product."""

    settings: Settings
    looks: tuple[Look, ...]
    threshold: float = 1.0

    def score(self, rows: npt.ArrayLike) -> Numbers:
        """Return the score of each step of rows [N, C] from the first that has enough of them: [N - rows + 1]."""
        powers = []
        for look, seen in zip(self.looks, _seen(np.asarray(rows, np.float64), self.settings), strict=True):
            mean = _moving_mean(look.distance(seen)[:, None], self.settings.smooth)[:, 0]
            powers.append(np.maximum(mean, NEAREST) ** look.weight)
        return np.asarray(np.prod(powers, axis=0) / self.threshold)

    def graph(self, columns: Sequence[str] = ()) -> onnx.ModelProto:
        """Return it as metrics [batch, rows, C] -> score [batch, 1], contribution [batch, C], which adds up to 1.

        A metric that is absent (NaN) counts as usual. At a score of 1 and above it is an anomaly. `columns` names the metrics in
        its metadata. Raises InvalidGraph.
        """
        from fleetml.learn.window_anomaly import mahalanobis_graph

        about = {"threshold": 1.0, "rows": self.settings.rows, "columns": list(columns)}
        return scorer.finish(mahalanobis_graph.build(self), KIND, FAMILY, about, vars(self.settings))


def fit(series: Sequence[npt.ArrayLike], settings: Settings | None = None) -> Detector:
    """Return the detector of a machine, or of several alike, from rows [N, C] of each, the oldest first. Raises InvalidData."""
    settings = settings or Settings()
    known = _checked(series, settings)
    found = Detector(settings, _looks(known, settings, None))
    usual = None
    if settings.trim:
        each = replace(settings, smooth=1)
        distance = np.concatenate([replace(found, settings=each).score(one) for one in known])
        usual = distance <= np.quantile(distance, 1 - settings.trim)
        found = Detector(settings, _looks(known, settings, usual))
    return replace(found, threshold=max(_threshold(found, known, usual), NEAREST))


def _checked(series: Sequence[npt.ArrayLike], settings: Settings) -> list[Numbers]:
    """Return the rows of the machines with enough of them for a score."""
    values = [np.asarray(one, np.float64) for one in series]
    fit = all(one.ndim == 2 and np.isfinite(one).all() for one in values) and len({one.shape[1] for one in values}) == 1
    known = [one for one in values if len(one) >= settings.rows] if fit else []
    if sum(map(len, known)) < 2 * settings.rows:
        raise InvalidData(
            f"rows must be finite, [N, metrics], with N of at least {2 * settings.rows}, got {[one.shape for one in values]}; "
            "give more history"
        )
    return known


def _looks(series: Sequence[Numbers], settings: Settings, usual: Flags | None) -> tuple[Look, ...]:
    looked = zip(*(_seen(one, settings) for one in series), strict=True)
    return tuple(Look.fit(rows, number > 0, settings, usual) for number, rows in enumerate(looked))


def _seen(rows: Numbers, settings: Settings) -> list[Numbers]:
    """Return what each look sees of rows [N, C], both [N - before, C]: the rows, and what they are above the recent mean."""
    own = rows[settings.before :]
    return [own, own - _moving_mean(rows, settings.recent)] if settings.recent else [own]


def _threshold(detector: Detector, series: Sequence[Numbers], usual: Flags | None) -> float:
    """Return the score that the fraction `ALARMS` exceeded of the means over windows all of which were fitted on.

    Where anomalies leave no such mean it is of those with the most. `usual` says of each window of the series whether it was.
    """
    scores = np.concatenate([detector.score(one) for one in series])
    if usual is None:
        return float(np.quantile(scores, 1 - ALARMS))
    settings = detector.settings
    lengths = [len(one) - settings.before - settings.steps + 1 for one in series]
    parts = np.split(usual, np.cumsum(lengths)[:-1])
    fitted = np.concatenate([np.convolve(part, np.ones(settings.smooth), mode="valid") for part in parts])
    return float(np.quantile(scores[fitted == fitted.max()], 1 - ALARMS))


def _whitening(windows: Numbers, ridge: float) -> tuple[Numbers, Numbers]:
    """Return the middle of windows, and the matrix whose product with a distance from it has that many widths for length."""
    from sklearn.covariance import ledoit_wolf

    some = windows[:: len(windows) // _READ + 1]
    covariance, _ = ledoit_wolf(some)
    return some.mean(axis=0), np.linalg.cholesky(np.linalg.inv(covariance + ridge * np.eye(len(covariance))))


def _scaled(rows: Numbers, centre: Numbers, width: Numbers, clip: float | None) -> Numbers:
    bound = clip or FARTHEST
    bounded = np.clip((rows - centre) / width, -bound, bound)
    return np.nan_to_num(bounded if clip else np.arcsinh(bounded))


def _windows(rows: Numbers, steps: int) -> Numbers:
    """Return each run of `steps` rows as one vector, row after row."""
    view = np.lib.stride_tricks.sliding_window_view(rows, steps, axis=0)
    return view.transpose(0, 2, 1).reshape(len(view), -1)


def _moving_mean(rows: Numbers, length: int) -> Numbers:
    """Return the mean of each run of `length` rows [N, C] of what is known of it, [N - length + 1, C]; NaN: nothing."""
    known = np.isfinite(rows)
    zero = np.zeros((1, rows.shape[1]))
    total, count = (np.concatenate([zero, np.cumsum(each, axis=0)]) for each in (np.where(known, rows, 0.0), known))
    here = (each[length:] - each[:-length] for each in (total, count))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.divide(*here))
