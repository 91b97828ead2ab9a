"""Which measured scenario of each output ladder delivers most for its energy."""

from __future__ import annotations

import html
from typing import Any

from components.cost.measurements import latest, load
from fleetml import atomic
from fleetml.component import Artifact
from fleetml.cost import recommend as ranking
from fleetml.cost.scenarios import Scenario
from fleetml.cost.scores import Ladder
from fleetml.errors import InvalidData

_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}h2{overflow-wrap:anywhere}"
    "table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:right}"
    "td:nth-child(2),th:nth-child(2){text-align:left}"
)


def recommend(
    results: Artifact, score: str, top: int, recommendations: Artifact, report: Artifact, metrics: Artifact
) -> None:
    """Write the best `top` (0: all) of each ladder, and how surely the first is before the second; of equal names the latest counts.

    Raises InvalidData where no ladder has a score, InvalidParameter for an unknown rule.
    """
    scenarios = latest(load(results.path))
    ladders = ranking.top(scenarios, score, top)
    if not ladders:
        raise InvalidData(
            f"a recommendation needs a scenario with power and an output ladder, none of {len(scenarios)} has both a ladder and a score "
            f"by the rule {score}; add resolution and fps, or choose another rule"
        )
    found = ranking.document(ladders)
    for ladder, entry in zip(ladders, found, strict=True):
        entry["lead"] = _lead(scenarios, ladder)
    atomic.write_json(recommendations.path, {"ladders": found})
    atomic.write_text(report.path, _page(found, bool(results.metadata.get("synthetic"))))
    first = max(ladders, key=lambda each: len(each.scored))
    metrics.log(ladders=len(found), best=first.scored[0][0].name, best_score=first.scored[0][1], unit=found[0]["unit"])


def _lead(scenarios: list[Scenario], ladder: Ladder) -> dict[str, Any] | None:
    """Return how the first differs from the second; None without one."""
    if len(ladder.scored) < 2:
        return None
    (first, _), (second, _) = ladder.scored[:2]
    found = ranking.compare(scenarios, first.name, second.name, ladder.rule)
    return {"difference": found.difference, "low": found.low, "high": found.high, "differs": found.differs}


def _page(found: list[dict[str, Any]], synthetic: bool) -> str:
    parts = ["<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"]
    parts.append(
        f"<title>Recommendations</title><style>{_STYLE}</style><h1>Which scenario delivers most for its energy</h1>"
    )
    if synthetic:
        parts.append("<p><b>Of synthetic results: invented, not measured.</b></p>")
    for entry in found:
        rows = "".join(
            f"<tr><td>{each['rank']}<td>{html.escape(each['scenario'])}<td>{each['score']:.4g}"
            for each in entry["ranking"]
        )
        parts.append(
            f"<h2>{html.escape(entry['output_ladder'].replace(',', ', '))}</h2><p>{html.escape(_sure(entry))}</p>"
            f"<table><tr><th>rank<th>scenario<th>{html.escape(entry['unit'])}</tr>{rows}</table>"
        )
    return "".join(parts)


def _sure(entry: dict[str, Any]) -> str:
    lead = entry["lead"]
    if lead is None:
        return "One scenario, nothing to compare it with."
    if lead["differs"] is None:
        return "The samples are too few to say how surely the first is before the second."
    interval = f"{lead['difference']:.3g} (95 % interval {lead['low']:.3g} to {lead['high']:.3g})"
    said = "before" if lead["differs"] else "not surely before"
    return (
        f"The first is {said} the second, by {interval}: what these two measurements say, not what another day would."
    )
