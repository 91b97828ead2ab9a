"""The anomaly network, trained and calibrated."""

from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import scorer
from fleetml.learn.anomaly import judge, samples, training


def train_anomaly(
    train: Artifact,
    val: Artifact,
    width: int,
    epochs: int,
    alarms_per_vm_week: float,
    seed: int,
    model: Artifact,
    metrics: Artifact,
) -> None:
    """Write the graph. Raises InvalidParameter for a width, epochs, seed or alarms that cannot be, InvalidData."""
    for name, value, least in (("width", width, 1), ("epochs", epochs, 1), ("seed", seed, 0)):
        if value < least:
            raise InvalidParameter(f"{name} must be at least {least}, got {value}; raise it")
    if not 0 < alarms_per_vm_week <= samples.ROWS_PER_WEEK:
        raise InvalidParameter(
            f"alarms_per_vm_week must be above 0 and at most {samples.ROWS_PER_WEEK}, got {alarms_per_vm_week}; correct it"
        )
    known = samples.load(val.path)
    graph = training.train(samples.load(train.path), known, width, epochs, alarms_per_vm_week, seed).SerializeToString()
    figures = judge.score(known, graph)
    shown = {name: figures[name] for name in (judge.MEASURE, "auroc", "false_alarms_per_vm_week")}
    scorer.publish(graph, model, **{f"validation_{name}": value for name, value in shown.items()})
    metrics.log(**{name: round(value, 4) for name, value in shown.items()}, size_bytes=len(graph))
