"""Graphs that score rows, judged as they would be served, beside the baselines of their kind and the champion."""

from __future__ import annotations

import json
import logging
from typing import Any

from components.evaluate import candidates, page
from components.evaluate.quietest import quietest
from fleetml.component import Artifact
from fleetml.data import schema
from fleetml.learn import judges, scorer
from fleetml.learn.graph import InvalidGraph

log = logging.getLogger(__name__)


def judge(
    test: Artifact,
    scores: Artifact,
    report: Artifact,
    metrics: Artifact,
    kind: str,
    champion_version: str = "",
    **models: Artifact,
) -> None:
    """Write the scores (docs/adr/0010) and a page; `models` are the inputs ``<candidate>_model``.

    A champion that is no graph of this kind is left out, and said so. Raises InvalidData for a test that is none.
    """
    by = judges.of(kind)
    held_out = by.read(test.path)
    judged: dict[str, dict[str, Any]] = {}
    graphs = candidates.scoring(by, held_out, models, champion_version)
    for name, graph in graphs.items():
        try:
            judged[name] = _entry(by, held_out, graph)
        except InvalidGraph as error:
            if name != candidates.CHAMPION:
                raise
            log.warning("the champion cannot be judged on this test and is left out: %s", error)
    found = candidates.weighed(judged, graphs)
    document = {
        "kind": kind,
        "measure": by.MEASURE,
        "more_is_better": by.MORE_IS_BETTER,
        **by.about(held_out),
        "candidates": found,
        "champion_version": champion_version,
    }
    with schema.aside(scores.path) as temporary:
        temporary.write_text(json.dumps(document))
    with schema.aside(report.path) as temporary:
        temporary.write_text(page.table(document))
    best = (max if by.MORE_IS_BETTER else min)(found, key=lambda name: found[name][by.MEASURE])
    metrics.log(
        best=f"{best} {found[best][by.MEASURE]:.4f}",
        **{f"{by.MEASURE}_{name}": round(entry[by.MEASURE], 4) for name, entry in found.items()},
        **{f"memory_mb_{name}": entry["memory_mb"] for name, entry in found.items()},
    )


def _entry(by: judges.Judge, held_out: Any, graph: bytes) -> dict[str, Any]:
    figures = by.score(held_out, graph)  # refuses one of another kind, which may take other inputs than are timed
    p50, p99 = quietest(scorer.latency, graph)
    family = scorer.family(graph)
    return {"family": family, **figures, "size_bytes": len(graph), "latency_ms_p50": p50, "latency_ms_p99": p99}
