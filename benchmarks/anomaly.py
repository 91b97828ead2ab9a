"""Detectors on real VM metrics (needs ../shared): incidents put into the held-out last 15 % of a month of 150 VMs.

Isolation forest (Liu, Ting and Zhou, 2008; scikit-learn's, 100 trees) sees the same rows, absent metrics at their median.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from components.features.samples import samples
from components.ingest.ingest import ingest
from fleetml.component import Artifact
from fleetml.learn.anomaly import injection, judge, training
from fleetml.learn.anomaly.samples import ROWS_PER_WEEK, Numbers, Samples, load
from fleetml.learn.compression import quantise
from fleetml.learn.compression.anomalies import AnomalyData

REAL = Path(__file__).parents[2] / "shared/data/bitbrains_rnd/vm001-150_2013-08_all_metrics.parquet"
ALARMS = 1.0
SHOWN = ("average_precision", "auroc", "found", "false_alarms_per_vm_week")


def run() -> Iterator[tuple[str, float, str]]:
    """Yield the figures of each detector, and the size of the graphs."""
    if not REAL.exists():
        raise FileNotFoundError(f"the real data must lie in {REAL}")
    train, val, test = _split()
    network = training.train(train, val, 48, 8, ALARMS, 0).SerializeToString()
    graphs = {**judge.baselines(test), "network": network, "network, INT8 weights": _int8(network, val)}
    for name, graph in graphs.items():
        figures = judge.score(test, graph)
        yield from ((f"{name}, {figure.replace('_', ' ')}", figures[figure], "") for figure in SHOWN)
        yield f"{name}, size", len(graph) / 1000, "kB"
    yield from (
        (f"isolation forest, {figure.replace('_', ' ')}", value, "") for figure, value in _forest(train, val, test)
    )


def _int8(network: bytes, val: Samples) -> bytes:
    data = AnomalyData(onnx.load_from_string(network), val, 0, 0)
    return quantise.dynamic(data.original(), 1.0, data).graph.SerializeToString()


def _split() -> list[Samples]:
    with tempfile.TemporaryDirectory() as folder:
        names = ("data", "train", "val", "test", "metrics")
        data, train, val, test, metrics = (Artifact(name, str(Path(folder) / name)) for name in names)
        ingest(str(REAL), "bitbrains_parquet", 31, "", data, metrics)
        samples(data, train, val, test, metrics, 60_000, 0)
        return [load(artifact.path) for artifact in (train, val, test)]


def _forest(train: Samples, val: Samples, test: Samples) -> Iterator[tuple[str, float]]:
    from sklearn.ensemble import IsolationForest

    known = np.isfinite(train.values).any(axis=0)
    middle = np.nanmedian(train.values[:, known], axis=0)

    def rows(values: Numbers) -> Numbers:
        given = values[:, known]
        return np.log1p(np.where(np.isfinite(given), given, middle))

    forest = IsolationForest(n_estimators=100, random_state=0, n_jobs=1).fit(rows(train.values))
    threshold = np.quantile(-forest.score_samples(rows(val.values)), 1 - ALARMS / ROWS_PER_WEEK)
    clean = -forest.score_samples(rows(test.values))
    found = injection.incidents(test.values, np.random.default_rng(judge.SEED))
    scores = np.concatenate([-forest.score_samples(rows(changed)) for changed, _ in found.values()])
    yield "average_precision", judge.average_precision(clean, scores)
    yield "auroc", judge.auroc(clean, scores)
    yield "found", float((scores >= threshold).mean())
    yield "false_alarms_per_vm_week", float((clean >= threshold).mean() * ROWS_PER_WEEK)
