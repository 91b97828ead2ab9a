"""AutoML of placement: the weights of a policy under a budget of trials and seconds."""

import json

import polars as pl

from fleetml.component import Artifact
from fleetml.learn import scorer, search
from fleetml.learn.placement import cluster
from fleetml.learn.placement import search as policy_search


def automl_placement(
    train: Artifact,
    trials: int,
    timeout_seconds: float,
    seed: int,
    model: Artifact,
    leaderboard: Artifact,
    metrics: Artifact,
) -> None:
    """Search a placement policy in simulated fillings; write the best graph and the leaderboard.

    Raises InvalidParameter for an empty budget, InvalidData for episodes that are none.
    """
    search.check_budget(trials, timeout_seconds)
    episodes = cluster.load(train.path)
    done = policy_search.search(episodes, trials, timeout_seconds, seed)
    best = done[0]
    rows = [
        {"hyperparameters": json.dumps(dict(each.weights)), "gpu_allocation": each.allocation, "seconds": each.seconds}
        for each in done
    ]
    pl.DataFrame(rows).write_parquet(leaderboard.path)
    graph = policy_search.build(episodes, best.weights).SerializeToString()
    scorer.publish(graph, model, train_gpu_allocation=best.allocation)
    metrics.log(gpu_allocation=round(best.allocation, 4), trials=len(done), size_bytes=len(graph), **best.weights)
