"""The graphs that compete: those that the searches made, the naive forecasts, the champion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fleetml.component import Artifact
from fleetml.learn.baselines import BASELINES
from fleetml.learn.windows import Meta

CHAMPION = "champion"


def graphs(meta: Meta, models: Mapping[str, Artifact], champion_version: str) -> dict[str, bytes]:
    """Return each candidate's graph by name; inputs are named ``<candidate>_model``, an absent champion is left out."""
    naive = {name: build(meta).SerializeToString() for name, build in BASELINES.items()}
    named = {name.removesuffix("_model"): Path(artifact.path) for name, artifact in models.items()}
    learnt = {name: path.read_bytes() for name, path in named.items() if name != CHAMPION or champion_version}
    return {**naive, **learnt}
