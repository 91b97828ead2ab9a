"""The gate: the best candidate within the budget, and whether it replaces the champion."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from components.evaluate import candidates, takeover
from components.evaluate.candidates import CHAMPION
from components.evaluate.takeover import Judged
from fleetml.component import Artifact
from fleetml.errors import FleetMLError, InvalidParameter
from fleetml.learn import graph, judges, scorer, windows
from fleetml.serving import horizon
from fleetml.serving.horizon import Horizon


@dataclass(frozen=True)
class Measure:
    """The figure that decides, what it is called, and whether more of it is better."""

    key: str = "mase"
    title: str = "MASE"
    more_is_better: bool = False

    @classmethod
    def of(cls, scores: Mapping[str, Any]) -> Measure:
        """Return the measure that a scores document names; one without is a forecaster's."""
        if "measure" not in scores:
            return cls()
        return cls(scores["measure"], scores["measure"].replace("_", " "), scores["more_is_better"])

    def loss(self, entry: Mapping[str, Any]) -> float:
        """Return what is to be small; a figure that is no number is the worst."""
        value = float(entry[self.key])
        return math.inf if math.isnan(value) else -value if self.more_is_better else value


@dataclass(frozen=True)
class Budget:
    """What a graph may take at most: one row [ms, p99], its file and the memory it is loaded and asked in [MB], a thousand rows
    [Wh]; memory and energy 0: any.
    """

    latency_ms: float
    size_mb: float
    memory_mb: float = 0.0
    energy_wh: float = 0.0

    def keeps(self, entry: Mapping[str, Any]) -> bool:
        """Say whether what evaluate wrote of a candidate is inside; scores that tell no memory or energy keep no budget of it."""
        return (
            entry["latency_ms_p99"] <= self.latency_ms
            and entry["size_bytes"] <= self.size_mb * 1e6
            and (not self.memory_mb or entry.get("memory_mb", math.inf) <= self.memory_mb)
            and (not self.energy_wh or entry.get("wh_per_1000", math.inf) <= self.energy_wh)
        )

    def __str__(self) -> str:
        rule = f"answer within {self.latency_ms} ms (p99) and be at most {self.size_mb} MB"
        rule += f" in at most {self.memory_mb} MB of memory" if self.memory_mb else ""
        return rule + (f", and a thousand answers take at most {self.energy_wh} Wh" if self.energy_wh else "")


class NothingWithinBudget(FleetMLError):
    """No candidate keeps the latency, the size, the memory and the energy that were asked for."""


def gate(
    scores: Artifact,
    test: Artifact,
    model: Artifact,
    metrics: Artifact,
    champion_version: str = "",
    latency_budget_ms: float = 5.0,
    size_budget_mb: float = 20.0,
    memory_budget_mb: float = 0.0,
    shorter_horizon: bool = False,
    other_inputs: bool = False,
    false_alarms_per_vm_week: float = 0.0,
    energy_budget_wh: float = 0.0,
    **models: Artifact,
) -> dict[str, Any]:
    """Return promote, winner and reason, and write the winner's graph; a budget of memory or energy of 0 is none. Raises NothingWithinBudget."""
    document = json.loads(scores.path.read_text())
    judged, by = document["candidates"], Measure.of(document)
    judged = _quiet(judged, false_alarms_per_vm_week)
    graphs, refusal = _graphs(document, test, models, champion_version), ""
    if champion_version and document.get("kind") in judges.OWN_NAMES and not other_inputs:
        judged, refusal = takeover.alike(judged, graphs, test, models["champion_model"])
    budget = Budget(latency_budget_ms, size_budget_mb, memory_budget_mb, energy_budget_wh)
    winner = best(judged, budget, by)
    promote, reason = decide(judged, winner, champion_version, by)
    reason += left_out(judged, winner, budget, by)
    if champion_version and "champion_model" in models and "kind" not in document and not shorter_horizon:
        before = horizon.of(models["champion_model"].path)
        if told := _shorter(before, horizon.Horizon(document["horizon"], document["step_seconds"])):
            promote, reason = False, f"champion {champion_version} stays: {told}"
    if CHAMPION in document["candidates"].keys() - judged.keys():
        reason = (
            f"{winner} takes over from champion {champion_version}, which gives more false alarms than are admitted"
        )
    if refusal:
        promote, reason = False, f"champion {champion_version} stays: {refusal}"
    entry = judged[winner]
    known = _rest(models[f"{winner}_model"].metadata) if f"{winner}_model" in models else {}
    said = {**known, "candidate": winner, f"test_{by.key}": entry[by.key]}
    if "kind" in document:
        said |= {"vm": test.metadata["vm"]} if test.metadata.get("vm") else {}
        scorer.publish(graphs[winner], model, **said)
    else:
        graph.publish(onnx.load_from_string(graphs[winner]), model, **said)
    metrics.log(
        promote=promote,
        reason=reason,
        winner=f"{winner} ({entry['family']})",
        **{by.key: round(entry[by.key], 4)},
        **{key: entry[key] for key in ("memory_mb", "wh_per_1000") if key in entry},
    )
    return {"promote": promote, "winner": winner, "reason": reason}


def _graphs(
    document: Mapping[str, Any], test: Artifact, models: Mapping[str, Artifact], champion_version: str
) -> dict[str, bytes]:
    if "kind" not in document:
        return candidates.graphs(windows.load(test.path).meta, models, champion_version)
    judge = judges.of(document["kind"])
    return candidates.scoring(judge, judge.read(test.path), models, champion_version)


def _quiet(judged: Judged, most: float) -> Judged:
    """Return those with at most `most` false alarms a week and VM, 0: all, the champion among them where it is one."""
    if most < 0:
        raise InvalidParameter(f"false_alarms_per_vm_week must be 0, which admits any, or more, got {most}; correct it")
    found = {name: entry for name, entry in judged.items() if not most or entry["false_alarms_per_vm_week"] <= most}
    if found.keys() <= {CHAMPION}:
        said = ", ".join(f"{name} {entry['false_alarms_per_vm_week']:.1f}" for name, entry in judged.items())
        raise NothingWithinBudget(
            f"a detector must give at most {most:g} false alarms a week and VM, no new one does: {said}; give more history, or "
            "raise false_alarms_per_vm_week"
        )
    return found


def best(judged: Mapping[str, Mapping[str, Any]], budget: Budget, by: Measure = Measure()) -> str:
    """Return the name of the best within the budget; of equals the smaller graph. Raises NothingWithinBudget."""
    rivals = {name: entry for name, entry in judged.items() if name != CHAMPION}
    inside = {name: entry for name, entry in rivals.items() if budget.keeps(entry)}
    if not inside:
        said = ", ".join(f"{name} {_taken(entry)}" for name, entry in rivals.items())
        raise NothingWithinBudget(
            f"a model must {budget}, none does: {said}; raise latency_budget_ms, size_budget_mb, memory_budget_mb or energy_budget_wh"
        )
    return min(inside, key=lambda name: (by.loss(inside[name]), inside[name]["size_bytes"]))


def left_out(judged: Mapping[str, Mapping[str, Any]], winner: str, budget: Budget, by: Measure = Measure()) -> str:
    """Return which new candidate is better than the winner and by what it is outside the budget; "": none is."""
    least = by.loss(judged[winner])
    better = {name: entry for name, entry in judged.items() if name != CHAMPION and by.loss(entry) < least}
    if not better:
        return ""
    name = min(better, key=lambda each: by.loss(better[each]))
    return f"; {name} is better ({by.title} {better[name][by.key]:.4f}), but takes {_taken(better[name])}, and a model must {budget}"


def _taken(entry: Mapping[str, Any]) -> str:
    memory = f" {entry['memory_mb']:.1f} MB of memory" if "memory_mb" in entry else ""
    energy = f" {entry['wh_per_1000']:.3g} Wh" if "wh_per_1000" in entry else ""
    return f"{entry['latency_ms_p99']:.2f} ms {entry['size_bytes'] / 1e6:.2f} MB{memory}{energy}"


def decide(
    judged: Mapping[str, Mapping[str, Any]], winner: str, champion_version: str, by: Measure = Measure()
) -> tuple[bool, str]:
    """Say whether the winner replaces the champion, and why in one sentence. A tie keeps the champion."""
    won = f"{by.title} {judged[winner][by.key]:.4f}"
    if not champion_version:
        return True, f"{winner} wins with {won}; there is no champion yet"
    if CHAMPION not in judged:
        return True, f"{winner} wins with {won}; champion {champion_version} does not fit this test"
    reigning = f"{judged[CHAMPION][by.key]:.4f}"
    if by.loss(judged[winner]) < by.loss(judged[CHAMPION]):
        return True, f"{winner} ({won}) beats champion {champion_version} ({reigning}) on the same test"
    return False, f"champion {champion_version} ({by.title} {reigning}) stays: {winner} has {won} on the same test"


def _shorter(before: Horizon | None, now: Horizon) -> str:
    """Return why a new model may not take the champion's place by its horizon; "": it may."""
    if before is None or now.seconds >= before.seconds:
        return ""
    return (
        f"it forecasts {before}, these candidates {now}, and questions beyond would be refused; set horizon={before.steps}, "
        "or shorter_horizon=true if that is wanted"
    )


def _rest(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the search noted of its model, but for what `publish` writes anew."""
    return {
        key: value for key, value in metadata.items() if key not in ("kind", "family", "hyperparameters", "size_bytes")
    }
