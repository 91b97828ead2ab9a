"""The window detector, fitted on the metrics of one VM, or of a fleet, in time."""

from collections.abc import Mapping, Sequence

import onnx

from fleetml.component import Artifact
from fleetml.errors import InvalidParameter, nearest
from fleetml.learn import scorer
from fleetml.learn.anomaly import samples
from fleetml.learn.anomaly.samples import Numbers
from fleetml.learn.window_anomaly import mahalanobis, novelty, series
from fleetml.learn.window_anomaly.mahalanobis import Settings


def train_window_anomaly(
    train: Artifact, metric: str, steps: int, smooth: int, trim: float, model: Artifact, metrics: Artifact
) -> None:
    """Write the graph: of the window detector, or with a `metric` of novelty in that one, to which nothing is fitted.

    Raises InvalidParameter for settings that cannot be, InvalidData for too little history.
    """
    for name, value, least, most in (("steps", steps, 1, 100), ("smooth", smooth, 1, 100), ("trim", trim, 0, 0.5)):
        if not least <= value <= most:
            raise InvalidParameter(f"{name} must be from {least} to {most}, got {value}; correct it")
    known = series.of(samples.load(train.path))
    columns = series.columns(known)
    if metric and metric not in columns:
        told = nearest(metric, columns) or "; correct it"
        raise InvalidParameter(
            f"metric must be empty or one that all VMs have, {', '.join(columns)}, got {metric!r}{told}"
        )
    built = (
        novelty.graph(novelty.Settings(), metric)
        if metric
        else _fitted(known, columns, Settings(steps=steps, smooth=smooth, trim=trim))
    )
    graph = built.SerializeToString()
    scorer.publish(graph, model, vms=len(known), **({"vm": train.metadata["vm"]} if train.metadata.get("vm") else {}))
    metrics.log(
        rows=sum(map(len, known.values())), vms=len(known), metrics=metric or ", ".join(columns), size_bytes=len(graph)
    )


def _fitted(known: Mapping[str, Numbers], columns: Sequence[str], settings: Settings) -> onnx.ModelProto:
    places = [samples.METRICS.index(name) for name in columns]
    return mahalanobis.fit([rows[:, places] for rows in known.values()], settings).graph(columns)
