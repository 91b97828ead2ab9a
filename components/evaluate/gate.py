"""The gate: the best candidate within the budget, and whether it replaces the champion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import onnx

from components.evaluate import candidates
from components.evaluate.candidates import CHAMPION
from fleetml.component import Artifact
from fleetml.errors import FleetMLError
from fleetml.learn import graph, windows


class NothingWithinBudget(FleetMLError):
    """No candidate keeps the latency and the size that were asked for."""


def gate(
    scores: Artifact,
    test: Artifact,
    model: Artifact,
    metrics: Artifact,
    champion_version: str = "",
    latency_budget_ms: float = 5.0,
    size_budget_mb: float = 20.0,
    **models: Artifact,
) -> dict[str, Any]:
    """Return promote, winner and reason, and write the winner's graph. Raises NothingWithinBudget."""
    judged = json.loads(scores.path.read_text())["candidates"]
    winner = best(judged, latency_budget_ms, size_budget_mb)
    promote, reason = decide(judged, winner, champion_version)
    content = candidates.graphs(windows.load(test.path).meta, models, champion_version)[winner]
    entry = judged[winner]
    known = models[f"{winner}_model"].metadata if f"{winner}_model" in models else {}
    graph.publish(onnx.load_from_string(content), model, **_rest(known), candidate=winner, test_mase=entry["mase"])
    metrics.log(winner=f"{winner} ({entry['family']})", mase=round(entry["mase"], 4), promote=promote)
    return {"promote": promote, "winner": winner, "reason": reason}


def best(judged: Mapping[str, Mapping[str, Any]], latency_ms: float, size_mb: float) -> str:
    """Return the name of the least MASE within both budgets; of equals the smaller graph."""
    rivals = {name: entry for name, entry in judged.items() if name != CHAMPION}
    inside = {
        name: entry
        for name, entry in rivals.items()
        if entry["latency_ms_p99"] <= latency_ms and entry["size_bytes"] <= size_mb * 1e6
    }
    if not inside:
        said = ", ".join(
            f"{name} {entry['latency_ms_p99']:.2f} ms {entry['size_bytes'] / 1e6:.2f} MB"
            for name, entry in rivals.items()
        )
        raise NothingWithinBudget(
            f"a model must answer within {latency_ms} ms (p99) and be at most {size_mb} MB, none does: {said}; raise "
            "latency_budget_ms or size_budget_mb"
        )
    return min(inside, key=lambda name: (inside[name]["mase"], inside[name]["size_bytes"]))


def decide(judged: Mapping[str, Mapping[str, Any]], winner: str, champion_version: str) -> tuple[bool, str]:
    """Say whether the winner replaces the champion, and why in one sentence. A tie keeps the champion."""
    mase = judged[winner]["mase"]
    if not champion_version:
        return True, f"{winner} wins with MASE {mase:.4f}; there is no champion yet"
    if CHAMPION not in judged:
        return True, f"{winner} wins with MASE {mase:.4f}; champion {champion_version} does not fit these windows"
    reigning = judged[CHAMPION]["mase"]
    if mase < reigning:
        return (
            True,
            f"{winner} (MASE {mase:.4f}) beats champion {champion_version} ({reigning:.4f}) on the same windows",
        )
    return (
        False,
        f"champion {champion_version} (MASE {reigning:.4f}) stays: {winner} has {mase:.4f} on the same windows",
    )


def _rest(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the search noted of its model, but for what `publish` writes anew."""
    return {key: value for key, value in metadata.items() if key not in ("family", "hyperparameters", "size_bytes")}
