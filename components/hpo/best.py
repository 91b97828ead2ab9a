"""The end of a study that several steps shared: the best of their models, the fullest of their leaderboards."""

import shutil

import pyarrow.parquet as pq

from fleetml.component import Artifact
from fleetml.learn import graph, search, windows


def hpo_best(
    models: list[Artifact],
    leaderboards: list[Artifact],
    val: Artifact,
    model: Artifact,
    leaderboard: Artifact,
    metrics: Artifact,
) -> None:
    """Publish the model with the lowest MASE on `val` inside the limits, as the graph that it is; else the fastest best effort."""
    validation = search.require_scored(windows.load(val.path), "val")
    inside = [each for each in models if each.metadata.get("budget_met", True)]
    found = [search.judge(graph.load(each.path), validation) for each in inside or models]
    best = min(found, key=lambda each: each.validation_mase if inside else each.latency_ms)
    about = {"validation_mase": best.validation_mase, "latency_ms": best.latency_ms, "budget_met": bool(inside)}
    graph.publish(best.graph, model, **about)
    # Each worker writes what the study holds as it ends: the last one's holds all.
    rows = {each.path: pq.read_metadata(each.path).num_rows for each in leaderboards}
    fullest = max(rows, key=lambda path: rows[path])
    shutil.copyfile(fullest, leaderboard.path)
    metrics.log(
        family=best.family,
        validation_mase=round(best.validation_mase, 4),
        workers=len(models),
        trials=rows[fullest],
        budget_met=bool(inside),
    )
