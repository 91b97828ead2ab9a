"""The window detector, fitted on the metrics of one VM, or of a fleet, in time."""

from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import scorer
from fleetml.learn.anomaly import samples
from fleetml.learn.window_anomaly import mahalanobis, series
from fleetml.learn.window_anomaly.mahalanobis import Settings


def train_window_anomaly(
    train: Artifact, steps: int, smooth: int, trim: float, model: Artifact, metrics: Artifact
) -> None:
    """Write the graph. Raises InvalidParameter for settings that cannot be, InvalidData for too little history."""
    for name, value, least, most in (("steps", steps, 1, 100), ("smooth", smooth, 1, 100), ("trim", trim, 0, 0.5)):
        if not least <= value <= most:
            raise InvalidParameter(f"{name} must be from {least} to {most}, got {value}; correct it")
    known = series.of(samples.load(train.path))
    columns = series.columns(known)
    places = [samples.METRICS.index(name) for name in columns]
    settings = Settings(steps=steps, smooth=smooth, trim=trim)
    detector = mahalanobis.fit([rows[:, places] for rows in known.values()], settings)
    graph = detector.graph(columns).SerializeToString()
    scorer.publish(graph, model, vms=len(known), **({"vm": next(iter(known))} if len(known) == 1 else {}))
    metrics.log(rows=sum(map(len, known.values())), vms=len(known), metrics=", ".join(columns), size_bytes=len(graph))
