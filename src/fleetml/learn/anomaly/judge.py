"""How anomaly graphs are judged: on incidents put into held-out rows, and by their alarms on the rows as they are."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fleetml.learn import scorer
from fleetml.learn.anomaly import graphs, injection
from fleetml.learn.anomaly.graphs import Calibration, Scaling
from fleetml.learn.anomaly.samples import ROWS_PER_WEEK, Numbers, Samples, load
from fleetml.learn.anomaly.training import PRIOR, calibrated
from fleetml.learn.forecaster import session

MEASURE = "average_precision"
MORE_IS_BETTER = True
ALARMS = 1.0
"""False alarms per VM and week that a baseline's threshold admits."""
SEED = 20_13


def read(test: Path) -> Samples:
    """Return the held-out rows. Raises InvalidData."""
    return load(test)


def about(held_out: Samples) -> dict[str, Any]:
    """Return what the scores document says of the test."""
    return {"rows": len(held_out), "vms": len(np.unique(held_out.vm_id)), "incidents": sorted(injection.INCIDENTS)}


def baselines(held_out: Samples) -> dict[str, bytes]:
    """Return the detectors that a learnt one has to beat, fitted to every other held-out row: theirs is the better knowledge."""
    half = Samples(held_out.vm_id[::2], held_out.values[::2])
    scalings = {"z_score": Scaling.moments(half.values), "quartiles": Scaling.robust(half.values)}
    built = {name: calibrated(partial(_distance, scaling, name), half, ALARMS, 0) for name, scaling in scalings.items()}
    return {name: model.SerializeToString() for name, model in built.items()}


def _distance(scaling: Scaling, name: str, calibration: Calibration) -> onnx.ModelProto:
    return graphs.distance(scaling, calibration, name)


def score(held_out: Samples, graph: bytes) -> dict[str, Any]:
    """Return average precision at a share `PRIOR` of anomalies, AUROC, and at the graph's own threshold: false alarms per
    VM and week, the share of incidents found, and the share of those found whose largest contribution is a changed metric.
    """
    loaded = session(graph)
    threshold = scorer.described(loaded).about["threshold"]
    clean, _ = ask(loaded, held_out.values)
    found = injection.incidents(held_out.values, np.random.default_rng(SEED))
    asked = {name: (*ask(loaded, rows), changed) for name, (rows, changed) in found.items()}
    scores = np.concatenate([scores for scores, _, _ in asked.values()])
    blamed = np.concatenate([_right(*each, threshold) for each in asked.values()])
    return {
        MEASURE: average_precision(clean, scores),
        "auroc": auroc(clean, scores),
        "false_alarms_per_vm_week": float((clean >= threshold).mean() * ROWS_PER_WEEK),
        "found": float((scores >= threshold).mean()),
        "rightly_blamed": float(blamed.mean()) if len(blamed) else 0.0,
        "per_incident": {
            name: {"auroc": auroc(clean, scores), "found": float((scores >= threshold).mean())}
            for name, (scores, _, _) in asked.items()
        },
    }


def ask(loaded: Any, rows: Numbers) -> tuple[Numbers, Numbers]:
    """Return scores [N] and contributions [N, 6]."""
    score, contribution = loaded.run(["score", "contribution"], {"metrics": np.ascontiguousarray(rows, np.float32)})
    return score[:, 0], contribution


def _right(scores: Numbers, contributions: Numbers, changed: injection.Flags, threshold: float) -> injection.Flags:
    """Return for each incident found whether the metric most blamed is one that was changed."""
    seen = scores >= threshold
    return changed[seen, contributions[seen].argmax(axis=1)]


def auroc(clean: Numbers, anomalies: Numbers) -> float:
    """Return the probability that an anomaly scores higher than a clean row; ties count half."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.repeat((0, 1), (len(clean), len(anomalies))), np.concatenate([clean, anomalies])))


def average_precision(clean: Numbers, anomalies: Numbers) -> float:
    """Return the average precision as if a share `PRIOR` of the rows were anomalies."""
    from sklearn.metrics import average_precision_score

    weight = PRIOR / (1 - PRIOR) * len(clean) / len(anomalies)
    labels = np.repeat((0, 1), (len(clean), len(anomalies)))
    weights = np.repeat((1.0, weight), (len(clean), len(anomalies)))
    return float(average_precision_score(labels, np.concatenate([clean, anomalies]), sample_weight=weights))
