"""Forecaster graphs run by ONNX Runtime, as serving runs them, and timed."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from fleetml.learn.graph import Description, InvalidGraph, decode
from fleetml.learn.windows import Floats, Meta, Windows

_CHUNK = 512  # windows per call: bounds the memory of graphs that expand a window into rows


class Forecaster:
    """One forecaster graph, loaded: history [N, context], covariates [N, C] → forecast [N, horizon] and quantiles.

    Raises InvalidGraph for a graph that ONNX Runtime does not load or that lacks its metadata.
    """

    def __init__(self, graph: Path | bytes, threads: int = 1) -> None:
        self.session = session(graph, threads)
        entries = self.session.get_modelmeta().custom_metadata_map
        self.description: Description = decode({k.removeprefix("fleetml."): v for k, v in entries.items()})

    @property
    def meta(self) -> Meta:
        return self.description.meta

    def predict(self, history: Floats, covariates: Floats) -> Floats:
        """Return the forecast [N, horizon] in the target's unit; NaN covariates are absent."""
        parts = [
            self._run(history[at : at + _CHUNK], covariates[at : at + _CHUNK]) for at in range(0, len(history), _CHUNK)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.meta.horizon), np.float32)

    def quantiles(self, history: Floats, covariates: Floats) -> Floats:
        """Return the quantiles [N, horizon, Q] at the levels of `description.quantiles`; Q is 0 for a graph without."""
        levels = self.description.quantiles
        if not levels or not len(history):
            return np.empty((len(history), self.meta.horizon, len(levels)), np.float32)
        starts = range(0, len(history), _CHUNK)
        return np.concatenate(
            [self._run(history[at : at + _CHUNK], covariates[at : at + _CHUNK], "quantiles") for at in starts]
        )

    def forecast(self, windows: Windows) -> Floats:
        """Return the forecast [N, horizon] of windows. Raises InvalidGraph when they are not what it was trained on."""
        mine, theirs = self.meta, windows.meta
        if (mine.target, mine.step_seconds, mine.context, mine.horizon, mine.covariates) != (
            theirs.target,
            theirs.step_seconds,
            theirs.context,
            theirs.horizon,
            theirs.covariates,
        ):
            raise InvalidGraph(
                f"a forecaster must be run on windows like those it was trained on ({mine}), got {theirs}; "
                "train it again with the parameters of these windows"
            )
        return self.predict(windows.history, windows.covariates)

    def _run(self, history: Floats, covariates: Floats, output: str = "forecast") -> Floats:
        feeds = {"history": np.ascontiguousarray(history), "covariates": np.ascontiguousarray(covariates)}
        return self.session.run([output], feeds)[0]


def session(
    graph: Path | bytes, threads: int = 1, providers: Sequence[str] = ("CPUExecutionProvider",)
) -> ort.InferenceSession:
    """Return an ONNX Runtime session, on the CPU unless told otherwise. Raises InvalidGraph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        content = graph if isinstance(graph, bytes) else str(graph)
        return ort.InferenceSession(content, options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's errors share no public base
        place = "the graph" if isinstance(graph, bytes) else str(graph)
        raise InvalidGraph(f"ONNX Runtime must load {place}, got {error}; export the model again") from error


def smoke(graph: bytes, meta: Meta) -> None:
    """Run a graph on one and on several awkward windows. Raises InvalidGraph for a wrong shape or value."""
    forecaster = Forecaster(graph)
    try_out(forecaster.predict, meta, forecaster.description.family)
    if forecaster.description.quantiles:
        _smoke_quantiles(forecaster)


def _smoke_quantiles(forecaster: Forecaster) -> None:
    history, covariates = awkward(forecaster.meta)
    said, forecast = forecaster.quantiles(history, covariates), forecaster.predict(history, covariates)
    middle = said[..., forecaster.description.quantiles.index(0.5)]
    if not (np.isfinite(said).all() and (np.diff(said, axis=-1) >= 0).all() and np.array_equal(middle, forecast)):
        raise InvalidGraph(
            "quantiles must be finite, rise along their last axis and be the forecast at 0.5, those of flat and bursting "
            f"histories are not; fix the graph of family {forecaster.description.family!r}"
        )


def try_out(predict: Callable[[Floats, Floats], Floats], meta: Meta, family: str) -> None:
    """The same for whatever runs the graph: history [N, context], covariates [N, C] → forecast [N, horizon]."""
    history, covariates = awkward(meta)
    for rows in (1, len(history)):
        try:
            forecast = predict(history[:rows], covariates[:rows])
        except Exception as error:  # ONNX Runtime's errors share no public base
            raise InvalidGraph(f"a forecaster graph must run, got {error}; fix its export") from error
        if forecast.shape != (rows, meta.horizon) or not np.isfinite(forecast).all() or (forecast < 0).any():
            raise InvalidGraph(
                f"forecast must be finite, not negative and of shape {(rows, meta.horizon)}, got shape {forecast.shape}, "
                f"from {np.nanmin(forecast)} to {np.nanmax(forecast)} for flat and bursting histories; "
                f"fix the graph of family {family!r}"
            )


def awkward(meta: Meta) -> tuple[Floats, Floats]:
    """Return histories and covariates that break careless graphs: zeros, constants, one burst, absent covariates."""
    flat = np.zeros((1, meta.context), np.float32)
    burst = flat.copy()
    burst[0, meta.context // 2] = 1e7
    wave = 50 + 50 * np.sin(np.arange(meta.context, dtype=np.float32) / 20)[None, :]
    history = np.concatenate([flat, flat + 7, burst, flat + 1e8, wave]).astype(np.float32)
    covariates = np.full((len(history), len(meta.covariates)), np.nan, np.float32)
    covariates[3:] = 1e6
    return history, covariates


def latency(graph: Path | bytes, runs: int = 300, warmup: int = 30) -> tuple[float, float]:
    """Return p50 and p99, in ms, of one forecast of one window on one thread of this machine."""
    forecaster = Forecaster(graph)
    history, covariates = (rows[-1:] for rows in awkward(forecaster.meta))
    taken = np.empty(runs)
    for run in range(-warmup, runs):
        start = time.perf_counter()
        forecaster.predict(history, covariates)
        if run >= 0:
            taken[run] = time.perf_counter() - start
    p50, p99 = np.percentile(taken * 1e3, (50, 99))
    return float(p50), float(p99)
