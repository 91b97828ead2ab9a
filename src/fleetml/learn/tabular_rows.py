"""Windows as rows for tabular models, by one ONNX graph that training runs and every served model begins with.

One row per (window, step of the horizon). A window is centred on the median of its last six hours (`level`) and divided
by its mean absolute deviation (`spread`). Features then go through the symmetric logarithm sign(x) log(1 + |x|), the
target through the softsign x / (1 + |x|). The median is equivariant under monotone maps, so a model of the median of
the transformed target gives the median of the target; and the mean of a bounded target is near its median, so learners
that know only squared errors forecast well too (a random forest: MASE .59 instead of .92 on the raw target).

A target is centred on its `base`: the level, or, where that is nearer on the training windows, the season before. Trees
copy a daily curve badly (synthetic fleet: MASE .79 around the level, .65 around the season), and a fleet of bursts has none
to copy (Bitbrains: .59 and .63).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from fleetml.learn import metrics
from fleetml.learn.baselines import seasonal_steps
from fleetml.learn.builder import Builder, Shape
from fleetml.learn.forecaster import session
from fleetml.learn.windows import Floats, Meta, Windows

LAGS = (1, 2, 3, 6, 12)  # steps before the origin, 1: the last value
SPANS = (6, 12, 36, 72, 144)  # steps; the whole history is added
QUANTILES = (0.1, 0.25, 0.75, 0.9)
SMOOTHING = 13  # steps, odd: the moving average of the season before
FLOOR = 1e-3  # least spread, as a share of the level
_OUTPUTS = ("rows", "base", "spread", "low", "high")
_CHUNK = 512  # windows per call


@dataclass(frozen=True)
class Rows:
    """rows [N * horizon, F]; base [N, horizon], spread [N, 1] in the target's unit."""

    rows: Floats
    base: Floats
    spread: Floats

    def restore(self, transformed: Floats, history: Floats) -> Floats:
        """Return the forecast [N, horizon] that a model's output [N * horizon] means; the graph's end does the same."""
        shaped = transformed.reshape(self.base.shape)
        centred = shaped / np.maximum(1 - np.abs(shaped), 1e-3)
        low = history.min(axis=1, keepdims=True) - self.spread
        high = history.max(axis=1, keepdims=True) + self.spread
        return np.maximum(np.clip(self.base + centred * self.spread, low, high), 0)

    def transform(self, target: Floats) -> Floats:
        """Return a target [N, horizon] as models learn it, one value a row [N * horizon]; NaN stays."""
        centred = (target - self.base) / self.spread
        return (centred / (1 + np.abs(centred))).ravel()


def rows(windows: Windows, seasonal: bool) -> Rows:
    """Return the rows of windows, computed by the graph that serving runs; `seasonal` chooses the base.

    They take 200 bytes and more each: of many windows or a long horizon ask for `some_rows`.
    """
    parts = list(_run(windows, seasonal, _OUTPUTS[:3]))
    return Rows(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def some_rows(windows: Windows, seasonal: bool, wanted: npt.NDArray[np.intp]) -> Rows:
    """Return the rows at places `wanted` [R], which rise, with base and spread of all windows: the others are never held at once."""
    kept, bases, spreads = [], [], []
    first = 0
    for made, base, spread in _run(windows, seasonal, _OUTPUTS[:3]):
        begin, end = np.searchsorted(wanted, (first, first + len(made)))
        kept.append(made[wanted[begin:end] - first])
        bases.append(base)
        spreads.append(spread)
        first += len(made)
    return Rows(np.concatenate(kept), np.concatenate(bases), np.concatenate(spreads))


def is_seasonal(windows: Windows) -> bool:
    """Return whether the season before forecasts these windows better than the level does."""
    bases = [np.concatenate([base for (base,) in _run(windows, seasonal, ("base",))]) for seasonal in (False, True)]
    level, season = (metrics.mase(windows, base) for base in bases)
    return season < level


def _run(windows: Windows, seasonal: bool, outputs: Sequence[str]) -> Iterator[list[Floats]]:
    """Yield these outputs of the graph, some windows at a time."""
    runner = session(graph(windows.meta, seasonal).SerializeToString())
    for at in range(0, len(windows), _CHUNK):
        some = windows[at : at + _CHUNK]
        yield runner.run(list(outputs), {"history": some.history, "covariates": some.covariates})


def graph(meta: Meta, seasonal: bool) -> onnx.ModelProto:
    """Return the graph history, covariates → rows [batch * horizon, F]; base [batch, horizon]; spread, low, high [batch, 1].

    low and high bound the forecast: one spread below and above what the history has seen.
    """
    made = Builder()
    level, spread = _centre(made, meta)
    smooth = _season(made, meta)
    made.op("Add", smooth if seasonal else level, made.constant(np.zeros((1, meta.horizon))), name="base")
    per_window = _statistics(made, meta, level, spread)
    per_window += [
        _symlog(made, _known(made)),
        made.op("Cast", made.op("IsNaN", "covariates"), to=onnx.TensorProto.FLOAT),
    ]
    flat = made.op("Unsqueeze", made.op("Concat", *per_window, axis=1), made.integers(1))
    steps = _steps(made, meta, smooth, level, spread)
    repeated = made.op("Tile", flat, made.integers(1, meta.horizon, 1))
    joined = made.op("Concat", steps, repeated, axis=2)
    width = 3 + _width(per_window, meta)
    made.op("Reshape", joined, made.integers(-1, width), name="rows")
    inputs: dict[str, Shape] = {"history": ["batch", meta.context], "covariates": ["batch", len(meta.covariates)]}
    outputs: dict[str, Shape] = {"rows": ["rows", width], **_window_shapes(meta)}
    return made.model(inputs, outputs, "rows")


def _window_shapes(meta: Meta) -> dict[str, Shape]:
    """Shapes of what the end of a graph needs to know of a window."""
    return {"base": ["batch", meta.horizon], **{name: ["batch", 1] for name in _OUTPUTS[2:]}}


def _width(per_window: list[str], meta: Meta) -> int:
    return len(per_window) - 2 + 2 * len(meta.covariates)


def _centre(made: Builder, meta: Meta) -> tuple[str, str]:
    """Add spread, low and high; return level and spread."""
    level = _median(made, meta, min(72, meta.context))
    deviation = made.mean(made.op("Abs", made.op("Sub", "history", level)))
    floor = made.op("Mul", made.op("Abs", level), made.constant(FLOOR))
    spread = made.op("Add", made.op("Add", deviation, floor), made.constant(1e-6), name="spread")
    made.op("Sub", made.op("ReduceMin", "history", made.integers(1)), spread, name="low")
    made.op("Add", made.op("ReduceMax", "history", made.integers(1)), spread, name="high")
    return level, spread


def _median(made: Builder, meta: Meta, span: int) -> str:
    part = "history" if span == meta.context else made.last("history", span)
    return made.columns(made.sorted(part, span), span // 2)


def _statistics(made: Builder, meta: Meta, level: str, spread: str) -> list[str]:
    """Add the features of a whole window, each [batch, 1]."""

    def centred(value: str) -> str:
        return _symlog(made, made.op("Div", made.op("Sub", value, level), spread))

    def relative(value: str) -> str:
        return _symlog(made, made.op("Div", value, spread))

    found = [centred(made.columns("history", meta.context - lag)) for lag in LAGS if lag <= meta.context]
    for span in [*(s for s in SPANS if s < meta.context), meta.context]:
        part = made.last("history", span)
        mean = made.mean(part)
        found += [centred(_median(made, meta, span)), centred(mean)]
        found += [centred(made.op(kind, part, made.integers(1))) for kind in ("ReduceMin", "ReduceMax")]
        found.append(relative(made.mean(made.op("Abs", made.op("Sub", part, mean)))))
    ordered = made.sorted("history", meta.context)
    found += [centred(made.columns(ordered, round(q * (meta.context - 1)))) for q in QUANTILES]
    later = made.columns("history", np.arange(1, meta.context))
    earlier = made.columns("history", np.arange(meta.context - 1))
    found.append(relative(made.mean(made.op("Abs", made.op("Sub", later, earlier)))))
    return [*found, _symlog(made, level), _symlog(made, spread)]


def _season(made: Builder, meta: Meta) -> str:
    """The moving average of the season before, [batch, horizon]."""
    half = SMOOTHING // 2
    series = made.op("Unsqueeze", "history", made.integers(1))
    smooth = made.op("AveragePool", series, kernel_shape=[SMOOTHING], pads=[half, half], count_include_pad=0)
    return made.columns(made.op("Squeeze", smooth, made.integers(1)), seasonal_steps(meta))


def _steps(made: Builder, meta: Meta, smooth: str, level: str, spread: str) -> str:
    """Add the features of a step, [batch, horizon, 3]: the season before, its moving average, the step's place."""
    seasons = [made.columns("history", seasonal_steps(meta)), smooth]
    values = [_symlog(made, made.op("Div", made.op("Sub", season, level), spread)) for season in seasons]
    place = made.constant(np.arange(meta.horizon, dtype=np.float32)[None, :] / meta.horizon)
    zeros = made.op("Mul", level, made.constant(0.0))
    columns = [*values, made.op("Add", zeros, place)]
    return made.op("Concat", *(made.op("Unsqueeze", c, made.integers(2)) for c in columns), axis=2)


def _known(made: Builder) -> str:
    return made.op("Where", made.op("IsNaN", "covariates"), made.constant(0.0), "covariates")


def _symlog(made: Builder, value: str) -> str:
    size = made.op("Log", made.op("Add", made.op("Abs", value), made.constant(1.0)))
    return made.op("Mul", made.op("Sign", value), size)


def forecasts(meta: Meta) -> onnx.ModelProto:
    """Return the graph that ends every tabular model: transformed [batch * horizon, 1], base, … → forecast."""
    made = Builder()
    shaped = made.op("Reshape", "transformed", made.integers(-1, meta.horizon))
    # The inverse of softsign, x / (1 - |x|); a model may say more than 1, and low and high bound what comes of that.
    room = made.op("Max", made.op("Sub", made.constant(1.0), made.op("Abs", shaped)), made.constant(1e-3))
    centred = made.op("Div", shaped, room)
    forecast = made.op("Add", "base", made.op("Mul", centred, "spread"))
    bounded = made.op("Min", made.op("Max", forecast, "low"), "high")
    made.op("Relu", bounded, name="forecast")
    inputs: dict[str, Shape] = {"transformed": ["rows", 1], **_window_shapes(meta)}
    return made.model(inputs, {"forecast": ["batch", meta.horizon]}, "forecasts")


def weights(found: Rows, scale: npt.NDArray[np.float32], quantile: float) -> Floats:
    """Weight of each window [N] so that errors in spreads count as in the score; at most that quantile of weights."""
    ratio = found.spread[:, 0] / scale
    return np.minimum(ratio, np.quantile(ratio, quantile))
