"""Finds the days of the prediction log and of the truth that nobody reads any more."""

from __future__ import annotations

from pathlib import Path

from fleetml.serving import deployment
from fleetml.serving.truth import TRUTH


def days(root: Path, before: float) -> list[Path]:
    """Return the days' folders of a serving folder that were written last before `before` (seconds since 1970).

    Those of a model with a rollout under way stay: it is judged by all that was asked since it began. Raises
    ConfigurationError for a ``deployment.json`` that is none, OSError.
    """
    tried = {f"model={name}" for name, served in deployment.read(root).items() if served.rollout}
    found = [day for what in (deployment.PREDICTIONS, TRUTH) for day in sorted((root / what).glob("model=*/date=*"))]
    return [day for day in found if day.parent.name not in tried and _written(day) < before]


def _written(day: Path) -> float:
    """By the files, not by the date: questions of long ago that are replayed now have truth of long ago."""
    return max((file.stat().st_mtime for file in day.iterdir()), default=day.stat().st_mtime)
