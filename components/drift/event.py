"""The event that starts a retrain. It triggers nothing itself: triggers.yaml says what its output becomes."""

from typing import Any

from fleetml.component import Artifact


def retrain_event(metrics: Artifact, features: dict[str, float], score: float, model_name: str) -> dict[str, Any]:
    """Return the payload: the model, the share of drifted features, and each one's distance, worst first."""
    worst_first = dict(sorted(features.items(), key=lambda item: -item[1]))
    metrics.log(model=model_name, score=score, drifted=", ".join(worst_first))
    return {"event": {"model": model_name, "score": score, "features": worst_first}}
