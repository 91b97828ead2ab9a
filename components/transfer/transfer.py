"""The fleet's model, warm-started on the windows of a new region or class of VMs."""

from typing import Any

from fleetml.component import Artifact
from fleetml.errors import InvalidData, InvalidParameter


def transfer(
    model: Artifact,
    train: Artifact,
    val: Artifact,
    modes: list[str],
    epochs: int,
    batch_size: int,
    seed: int,
    transferred: Artifact,
    metrics: Artifact,
) -> None:
    """Write the better of the fleet's graph and what it becomes, with what was tried in its metadata.

    What it becomes gets its quantiles by `val`; the fleet's graph keeps those that it came with.

    Raises InvalidParameter, InvalidData for what are no windows or where there is no model of the fleet, InvalidGraph for a
    model that is no network of ours.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise InvalidParameter(f"{name} must be at least 1, got {value}; raise it")
    if not modes:
        raise InvalidParameter("modes must name at least one way to transfer, got none; leave it out to try all")
    if model.metadata.get("absent"):
        raise InvalidData(
            f"a model of the fleet must be there to transfer, the registry has none named {model.metadata.get('model_name', '')!r}; "
            "train one first, or name another"
        )
    from fleetml.learn import conformal, graph, quantile_head, windows
    from fleetml.learn import transfer as learn

    fleet = graph.load(model.path)
    few, held = windows.load(train.path), windows.load(val.path)
    found = learn.transfer(quantile_head.taken_off(fleet), few, held, modes, epochs, batch_size, seed)
    scores = {mode: round(score, 4) for mode, score in found.scores.items()}
    known: dict[str, Any] = {"validation_mase": found.scores[found.mode]} if found.scores else {}
    known |= {"transfer": found.mode, "reason": found.reason, "scores": scores, "judged_apart": found.apart}
    if version := model.metadata.get("version"):
        known["fleet_version"] = version
    made = fleet if found.mode == learn.NONE else conformal.calibrated(found.graph, held)
    graph.publish(made, transferred, **known)
    metrics.log(
        mode=found.mode,
        windows=len(few),
        reason=found.reason,
        judged_windows=found.judged,
        judged_apart=found.apart,
        **{f"mase_{mode}": score for mode, score in scores.items()},
    )
