"""The graphs that compete: those that the searches made, the naive forecasts, the champion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml.component import Artifact
from fleetml.cost import estimate
from fleetml.learn import footprint
from fleetml.learn.baselines import BASELINES
from fleetml.learn.judges import Judge
from fleetml.learn.windows import Meta

CHAMPION = "champion"


def graphs(meta: Meta, models: Mapping[str, Artifact], champion_version: str) -> dict[str, bytes]:
    """Return each candidate's graph by name; inputs are named ``<candidate>_model``, an absent champion is left out."""
    naive = {name: build(meta).SerializeToString() for name, build in BASELINES.items()}
    return {**naive, **_learnt(models, champion_version)}


def scoring(by: Judge, held_out: Any, models: Mapping[str, Artifact], champion_version: str) -> dict[str, bytes]:
    """The same of a kind that scores rows: its baselines, then what was learnt."""
    return {**by.baselines(held_out), **_learnt(models, champion_version)}


def weighed(judged: Mapping[str, dict[str, Any]], graphs: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Return what was found of each graph, with the memory [MB] that it takes loaded and asked one row, and the energy that a
    thousand rows take [Wh]: by the power model, of the median latency on one thread.
    """
    taken = footprint.measure({name: graphs[name] for name in judged})
    return {
        name: {
            **entry,
            "memory_mb": round(taken[name], 2),
            "wh_per_1000": float(f"{estimate.per_thousand(entry['latency_ms_p50']):.3g}"),
        }
        for name, entry in judged.items()
    }


def _learnt(models: Mapping[str, Artifact], champion_version: str) -> dict[str, bytes]:
    named = {name.removesuffix("_model"): Path(artifact.path) for name, artifact in models.items()}
    return {name: path.read_bytes() for name, path in named.items() if name != CHAMPION or champion_version}
