"""Is a retrain due, and may one begin? At most one event a model; what becomes of it is said by triggers.yaml."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from components.drift.folder import existing
from components.drift.quality import UNKNOWN
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.serving import deployment, retrains
from fleetml.serving.deployment import Deployed
from fleetml.serving.retrains import Limits

DRIFT, ACCURACY = "drift", "accuracy"
FORECASTER, ANOMALY = "forecaster", "anomaly"
RETRAINED = (FORECASTER, ANOMALY)
"""Kinds of models that a pipeline listens for: the branches of dags/monitor, each with an asset in its triggers.yaml."""
_NOTHING: dict[str, Any] = {"due": False, "kind": "", "event": {}}


def decide(
    metrics: Artifact,
    serving_dir: str,
    model_name: str,
    drifted: bool,
    score: float,
    features: dict[str, float],
    accuracy: float,
    accuracy_floor: float,
    cooldown_hours: float,
    retrain_hours: float,
    retrains_per_day: int,
) -> dict[str, Any]:
    """Return due, the kind of the model and the event {model, reason, score, features, evidence} where it is; note that it has begun.

    A score or an accuracy that is `UNKNOWN` is None in the event and in what is noted.
    The kind says which pipeline retrains the model (`RETRAINED`); it is "" where nothing is due.
    The reason is `accuracy` where it is known and below its floor, else `drift` where values of `features` did. A feature that is
    merely missing is no reason: a retrain does not bring it back. Nothing is due for a model of another kind, while a retrain or a rollout of the
    model is under way, within `cooldown_hours` of the last retrain's beginning, or beyond `retrains_per_day`.
    """
    if cooldown_hours < 0 or retrain_hours < 0 or retrains_per_day < 0:
        raise InvalidParameter(
            "cooldown_hours, retrain_hours and retrains_per_day must be 0 or more, got "
            f"{cooldown_hours}, {retrain_hours}, {retrains_per_day}; mend them"
        )
    reason = _reason(drifted, features, accuracy, accuracy_floor)
    if not reason:
        metrics.log(due=False, verdict="nothing to do")
        return _NOTHING
    root = existing(serving_dir)
    limits = Limits(timedelta(hours=cooldown_hours), timedelta(hours=retrain_hours), retrains_per_day)
    served = deployment.read(root).get(model_name)
    kind = _kind(root, served)
    key, refused, known = "", _refusal(kind, served), {"score": _known(score), "accuracy": _known(accuracy)}
    if not refused:
        key, refused = retrains.begin(root, model_name, {"reason": reason, **known}, limits)
    metrics.log(due=not refused, reason=reason, verdict=refused or f"retrain {key}")
    if refused:
        return _NOTHING
    worst_first = dict(sorted(features.items(), key=lambda item: -item[1]))
    evidence = {"retrain": key, "accuracy_floor": accuracy_floor, **known}
    told = {"model": model_name, "reason": reason, "score": known["score"], "features": worst_first}
    return {"due": True, "kind": kind, "event": {**told, "evidence": evidence}}


def retrain_event(metrics: Artifact, decided: dict[str, Any]) -> dict[str, Any]:
    """Hand on the event: the output of this step is what triggers.yaml makes an event of."""
    metrics.log(model=decided["model"], reason=decided["reason"])
    if decided["score"] is not None:
        metrics.log(score=decided["score"])
    return {"event": decided}


def _known(figure: float) -> float | None:
    return None if figure == UNKNOWN else figure


def _reason(drifted: bool, features: dict[str, float], accuracy: float, floor: float) -> str:
    if accuracy != UNKNOWN and accuracy < floor:
        return ACCURACY
    return DRIFT if drifted and features else ""


def _kind(root: Path, served: Deployed | None) -> str:
    """Return the kind of a served model, as its card tells; one whose card tells none is a forecaster."""
    card = deployment.card(root / served.graph) if served else None
    return str(card.metadata.get("kind") or FORECASTER) if card else FORECASTER


def _refusal(kind: str, served: Deployed | None) -> str:
    if kind not in RETRAINED:
        return f"no pipeline retrains a model of kind {kind} on an event; train it by hand"
    if served is None or served.rollout is None:
        return ""
    return f"version {served.rollout.version} is on its way ({served.rollout.mode} {served.rollout.id})"


def retrained(metrics: Artifact, serving_dir: str, model_name: str, evidence: dict[str, Any]) -> None:
    """Note that the retrain which `evidence` names has ended, well or not; a run that none started notes nothing."""
    key = str(evidence.get("retrain", ""))
    if key:
        retrains.end(existing(serving_dir), model_name, key)
    metrics.log(retrain=key or "none")
