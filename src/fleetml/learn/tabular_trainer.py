"""Trains one point of a tabular family into a candidate: rows sampled once, judged as its graph."""

import math
import time
from collections.abc import Mapping

import numpy as np

from fleetml.learn import export, search, tabular, tabular_rows
from fleetml.learn.search import Candidate, Report
from fleetml.learn.search_space import Hyperparameters, Space
from fleetml.learn.windows import Windows

MAX_ROWS = 48_000
_MAX_WINDOWS = 8_000
_PROVEN_ROWS = 2 * MAX_ROWS
_WEIGHT_QUANTILE = 0.99
# The share of a trial's time that fitting may take; the rest is for conversion and judgement.
_FITTING = 0.7


class TabularTrainer:
    """A `search.Trainer` over linear, random forest, extra trees, XGBoost, LightGBM and MLP on the rows of `tabular_rows`.

    What it holds and does grows with the windows, and not with their horizon: MAX_ROWS rows are learnt from, and on as many windows as make
    twice that many rows a graph is proven to say what its Python model does.
    """

    families: Mapping[str, Space] = tabular.FAMILIES

    def __init__(self, train: Windows, val: Windows, seed: int, latency_limit_ms: float = math.inf) -> None:
        self.meta, self.seed, self.limit = train.meta, seed, latency_limit_ms
        self.val = search.require_scored(val, "val")
        random = np.random.default_rng(seed)
        some = _sample(search.require_scored(train, "train"), random)
        self.seasonal = tabular_rows.is_seasonal(some)
        step = -(-len(self.val) * self.meta.horizon // _PROVEN_ROWS)
        self.proven = self.val[::step]
        self.proven_rows = tabular_rows.rows(self.proven, self.seasonal)
        self.table = _table(some, self.seasonal, random)

    def train(self, family: str, hyperparameters: Hyperparameters, deadline: float, report: Report) -> Candidate:
        """Train one model; it has no epochs to report. Raises TooSlow when its graph exceeds the limit."""
        now = time.monotonic()
        estimator = tabular.fit(family, self.table, hyperparameters, self.seed, now + _FITTING * (deadline - now))
        graph = export.from_estimator(estimator, self.meta, self.seasonal, family, hyperparameters)
        said = tabular.predict(estimator, self.proven_rows.rows)
        export.check_equal(graph, self.proven, self.proven_rows.restore(said, self.proven.history))
        return search.judge(graph, self.val, self.limit)


def _sample(windows: Windows, random: np.random.Generator) -> Windows:
    """Return at most _MAX_WINDOWS of the windows."""
    if len(windows) <= _MAX_WINDOWS:
        return windows
    return windows[np.sort(random.choice(len(windows), _MAX_WINDOWS, replace=False))]


def _table(windows: Windows, seasonal: bool, random: np.random.Generator) -> tabular.Table:
    """Return at most MAX_ROWS rows of the windows, drawn at random among those with a target."""
    known = np.flatnonzero(~np.isnan(windows.target))
    if len(known) > MAX_ROWS:
        known = np.sort(random.choice(known, MAX_ROWS, replace=False))
    found = tabular_rows.some_rows(windows, seasonal, known)
    target = found.transform(windows.target)[known]
    weight = tabular_rows.weights(found, windows.scale, _WEIGHT_QUANTILE)[known // windows.meta.horizon]
    return tabular.Table(found.rows, target, weight.astype(np.float32))
