"""Many metrics of one machine: how far its last steps are from those it was fitted on, by the Mahalanobis distance of windows.

A window is `steps` consecutive rows, scaled, as one vector; its covariance, shrunk as Ledoit and Wolf (2004) do, knows which metrics
move together, and how they follow each other in time. The score is the mean distance of the last `smooth` windows, in multiples of
the threshold: the distance that the fraction `ALARMS` of the fitted rows exceeded. No labels are needed; where anomalies may be among
the fitted rows, `trim` leaves out the farthest windows, and fits again, and sets the threshold, without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx

from fleetml.errors import InvalidData
from fleetml.learn import scorer
from fleetml.learn.builder import Builder

KIND = "window_anomaly"
FAMILY = "mahalanobis"
ALARMS = 0.001
Numbers = npt.NDArray[np.float64]
_READ = 3000
_CHUNK = 4096


@dataclass(frozen=True)
class Settings:
    """Rows of a window, windows of a mean, least width [units], bound [widths], variance added to each metric's [widths^2].

    `trim` is the share of windows that a second fit leaves out.
    """

    steps: int = 16
    smooth: int = 10
    least: float = 0.01
    clip: float = 5.0
    ridge: float = 0.002
    trim: float = 0.0

    @property
    def rows(self) -> int:
        """How many rows a score takes."""
        return self.steps + self.smooth - 1


@dataclass(frozen=True)
class Detector:
    """centre, width [C] of a row; middle [steps * C] of a window, whitener [steps * C, steps * C]; distance of the threshold."""

    settings: Settings
    centre: Numbers
    width: Numbers
    middle: Numbers
    whitener: Numbers
    threshold: float = 1.0

    def score(self, rows: npt.ArrayLike) -> Numbers:
        """Return the score of each step of rows [N, C] from the first that has enough of them: [N - rows + 1]."""
        distance = self.distance(np.asarray(rows, np.float64))
        total = np.concatenate([[0.0], np.cumsum(distance)])
        smooth = self.settings.smooth
        return (total[smooth:] - total[:-smooth]) / smooth / self.threshold

    def distance(self, rows: Numbers) -> Numbers:
        """Return the squared distance of each window of rows [N, C]: [N - steps + 1]."""
        windows = _windows(_scaled(rows, self.centre, self.width, self.settings.clip), self.settings.steps)
        parts = [windows[at : at + _CHUNK] - self.middle for at in range(0, len(windows), _CHUNK)]
        return np.concatenate([((part @ self.whitener) ** 2).sum(axis=1) for part in parts])

    def graph(self, columns: Sequence[str] = ()) -> onnx.ModelProto:
        """Return it as metrics [batch, rows, C] -> score [batch, 1], contribution [batch, C], which adds up to 1.

        A metric that is absent (NaN) counts as usual. At a score of 1 and above it is an anomaly. `columns` names the metrics in
        its metadata. Raises InvalidGraph.
        """
        graph, (settings, count) = Builder(), (self.settings, len(self.centre))
        moved = _in_graph(graph, self)
        windows = [_slice(graph, moved, at, settings.steps) for at in range(settings.smooth)]
        flat = [graph.op("Reshape", one, graph.integers(-1, 1, settings.steps * count)) for one in windows]
        away = graph.op("Sub", graph.op("Concat", *flat, axis=1), graph.constant(self.middle))
        white = graph.op("MatMul", away, graph.constant(self.whitener))
        slope = graph.op("MatMul", white, graph.op("Transpose", graph.constant(self.whitener), perm=[1, 0]))
        square = graph.op("ReduceSum", graph.op("Mul", white, white), graph.integers(2), keepdims=0)
        graph.op("Div", graph.mean(square), graph.constant(self.threshold), name="score")
        _contribution(graph, slope, self)
        model = graph.model(
            {"metrics": ["batch", settings.rows, count]},
            {"score": ["batch", 1], "contribution": ["batch", count]},
            FAMILY,
        )
        about = {"threshold": 1.0, "rows": settings.rows, "columns": list(columns)}
        return scorer.finish(model, KIND, FAMILY, about, vars(settings))


def fit(series: Sequence[npt.ArrayLike], settings: Settings | None = None) -> Detector:
    """Return the detector of a machine, or of several alike, from rows [N, C] of each, the oldest first. Raises InvalidData."""
    settings = settings or Settings()
    known = _checked(series, settings)
    every = np.concatenate(known)
    centre, width = every.mean(axis=0), np.maximum(every.std(axis=0), settings.least)
    windows = np.concatenate([_windows(_scaled(one, centre, width, settings.clip), settings.steps) for one in known])
    found = Detector(settings, centre, width, *_whitening(windows, settings.ridge))
    usual = np.ones(len(windows), bool)
    if settings.trim:
        distance = np.concatenate([found.distance(one) for one in known])
        usual = distance <= np.quantile(distance, 1 - settings.trim)
        found = Detector(settings, centre, width, *_whitening(windows[usual], settings.ridge))
    return replace(found, threshold=max(_threshold(found, known, usual), 1e-6))


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


def _threshold(detector: Detector, series: Sequence[Numbers], usual: npt.NDArray[np.bool_]) -> float:
    """Return the distance that the fraction `ALARMS` exceeded of the means over windows all of which were fitted on.

    Where anomalies leave no such mean it is of those with the most. `usual` says of each window of the series whether it was.
    """
    smooth, steps = detector.settings.smooth, detector.settings.steps
    parts = np.split(usual, np.cumsum([len(one) - steps + 1 for one in series])[:-1])
    fitted = np.concatenate([np.convolve(part, np.ones(smooth), mode="valid") for part in parts])
    scores = np.concatenate([detector.score(one) for one in series])
    return float(np.quantile(scores[fitted == fitted.max()], 1 - ALARMS))


def _whitening(windows: Numbers, ridge: float) -> tuple[Numbers, Numbers]:
    """Return the middle of windows, and the matrix whose product with a distance from it has that many widths for length."""
    from sklearn.covariance import ledoit_wolf

    some = windows[:: len(windows) // _READ + 1]
    covariance, _ = ledoit_wolf(some)
    return some.mean(axis=0), np.linalg.cholesky(np.linalg.inv(covariance + ridge * np.eye(len(covariance))))


def _scaled(rows: Numbers, centre: Numbers, width: Numbers, clip: float) -> Numbers:
    return np.nan_to_num(np.clip((rows - centre) / width, -clip, clip))


def _windows(rows: Numbers, steps: int) -> Numbers:
    """Return each run of `steps` rows as one vector, row after row."""
    view = np.lib.stride_tricks.sliding_window_view(rows, steps, axis=0)
    return view.transpose(0, 2, 1).reshape(len(view), -1)


def _in_graph(graph: Builder, detector: Detector) -> str:
    clip = detector.settings.clip
    scaled = graph.op(
        "Div", graph.op("Sub", "metrics", graph.constant(detector.centre)), graph.constant(detector.width)
    )
    known = graph.op("Where", graph.op("IsNaN", scaled), graph.constant(0.0), scaled)
    return graph.op("Clip", known, graph.constant(-clip), graph.constant(clip))


def _slice(graph: Builder, rows: str, start: int, steps: int) -> str:
    return graph.op("Slice", rows, graph.integers(start), graph.integers(start + steps), graph.integers(1))


def _contribution(graph: Builder, slope: str, detector: Detector) -> None:
    """Add by how much the distance would fall if a metric were, in all steps of a window, what the others let expect."""
    steps, count, smooth = detector.settings.steps, len(detector.centre), detector.settings.smooth
    each = graph.op("Reshape", slope, graph.integers(-1, steps, count))
    by_metric = graph.op("Transpose", each, perm=[2, 0, 1])
    residual = graph.op("MatMul", by_metric, graph.constant(_own(detector.whitener, steps, count)))
    falls = graph.op("ReduceSum", graph.op("Mul", residual, residual), graph.integers(2), keepdims=0)
    rows = graph.op("Reshape", graph.op("Transpose", falls, perm=[1, 0]), graph.integers(-1, smooth, count))
    total = graph.op("Add", graph.op("ReduceSum", rows, graph.integers(1), keepdims=0), graph.constant(1e-12))
    graph.op("Div", total, graph.op("ReduceSum", total, graph.integers(1), keepdims=1), name="contribution")


def _own(whitener: Numbers, steps: int, count: int) -> Numbers:
    """Return for each metric a square root of the inverse of its own part of the inverse covariance, [C, steps, steps]."""
    inverse = (whitener @ whitener.T).reshape(steps, count, steps, count)
    return np.stack([np.linalg.cholesky(np.linalg.inv(inverse[:, metric, :, metric])) for metric in range(count)])
