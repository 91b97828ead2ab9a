"""Every candidate is judged as the graph it would be served as, on windows that none has seen."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from components.evaluate import candidates, page
from components.evaluate.quietest import quietest
from fleetml.component import Artifact
from fleetml.data import schema
from fleetml.errors import InvalidData
from fleetml.learn import metrics as errors
from fleetml.learn import windows
from fleetml.learn.forecaster import Forecaster, latency
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.metrics import Values
from fleetml.learn.windows import Windows

log = logging.getLogger(__name__)


def evaluate(
    test: Artifact,
    scores: Artifact,
    report: Artifact,
    metrics: Artifact,
    champion_version: str = "",
    **models: Artifact,
) -> None:
    """Write the scores (docs/adr/0002) and a page with plots; `models` are the inputs ``<candidate>_model``.

    A champion that these windows do not fit (trained for another context, horizon or target) is left out, and said so.
    Raises InvalidData when no window can be scored.
    """
    held_out = windows.load(test.path)
    if not (held_out.scale > 0).any():
        raise InvalidData(
            f"held-out windows must have a positive scale to be scored, none of {len(held_out)} has: the target is constant "
            "on the training span of every VM; give VMs that vary"
        )
    graphs = candidates.graphs(held_out.meta, models, champion_version)
    judged = _judged(held_out, graphs)
    found = candidates.weighed({name: entry for name, (entry, _) in judged.items()}, graphs)
    meta = held_out.meta
    document = {
        "target": meta.target,
        "windows": len(held_out),
        "vms": len(np.unique(held_out.vm_id)),
        "step_seconds": meta.step_seconds,
        "horizon": meta.horizon,
        "candidates": found,
        "champion_version": champion_version,
    }
    with schema.aside(scores.path) as temporary:
        temporary.write_text(json.dumps(document))
    with schema.aside(report.path) as temporary:
        temporary.write_text(page.render(document, {name: per_step for name, (_, per_step) in judged.items()}))
    best = min(found, key=lambda name: found[name]["mase"])
    metrics.log(
        best=f"{best} {found[best]['mase']:.3f}",
        seasonal_naive=round(found["seasonal_naive"]["mase"], 4),
        last_value=round(found["last_value"]["mase"], 4),
        **{f"mase_{name}": round(entry["mase"], 4) for name, entry in found.items()},
        **{f"memory_mb_{name}": entry["memory_mb"] for name, entry in found.items()},
        **{
            f"{key}_{name}": round(entry[key], 4)
            for name, entry in found.items()
            for key in ("crps", "covered")
            if key in entry
        },
    )


def _judged(held_out: Windows, graphs: Mapping[str, bytes]) -> dict[str, tuple[dict[str, Any], Values]]:
    """Return what `judge` says of each graph; a champion that these windows do not fit is left out."""
    found = {}
    for name, graph in graphs.items():
        try:
            found[name] = judge(held_out, graph)
        except InvalidGraph as error:
            if name != candidates.CHAMPION:
                raise
            log.warning("the champion cannot be judged on these windows and is left out: %s", error)
    return found


def judge(held_out: Windows, graph: bytes) -> tuple[dict[str, Any], Values]:
    """Return the scores of one graph, and its error at each step of the horizon in units of the scale."""
    forecaster = Forecaster(graph)
    forecast = forecaster.forecast(held_out)
    p50, p99 = quietest(latency, graph)
    entry: dict[str, Any] = {
        "family": forecaster.description.family,
        "mase": errors.mase(held_out, forecast),
        "mae": errors.mae(held_out, forecast),
        "per_vm": errors.per_vm(held_out, forecast),
        "size_bytes": len(graph),
        "latency_ms_p50": p50,
        "latency_ms_p99": p99,
        **of_quantiles(held_out, forecaster),
    }
    return entry, errors.per_step(held_out, forecast)


def of_quantiles(held_out: Windows, forecaster: Forecaster) -> dict[str, float]:
    """Return CRPS and coverage of a graph that says quantiles, {} of one that does not, or where all that was measured is 0.

    `covered` is the share of what was measured between the lowest and the highest quantile, `covered_said` what they promise.
    """
    levels = forecaster.description.quantiles
    if not levels or not np.nansum(np.abs(held_out.target)) > 0:
        return {}
    said = forecaster.quantiles(held_out.history, held_out.covariates)
    return {
        "crps": errors.crps(held_out, said, levels),
        "covered": errors.covered(held_out, said),
        "covered_said": round(levels[-1] - levels[0], 6),
    }
