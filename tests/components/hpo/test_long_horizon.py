"""Horizons of 480 and 720 steps through the searches: what they hand on forecasts that far."""

import dataclasses

import pyarrow.parquet as pq
import pytest

from components.automl.automl import automl
from components.hpo.hpo import hpo
from components.nas.nas import nas
from fleetml.component import Artifact
from fleetml.learn import graph as graphs
from fleetml.learn.forecaster import Forecaster

BUDGET = {"timeout_seconds": 600, "seed": 0}


@pytest.mark.parametrize("horizon", [480, 720])
def test_a_long_horizon_ends_in_a_graph_that_forecasts_it(tmp_path, windows, meta, horizon):
    def new(name):
        return Artifact(name, str(tmp_path / name))

    long = dataclasses.replace(meta, horizon=horizon)
    split = {"train": new("train"), "val": new("val")}
    windows(40, meta=long).save(split["train"].path)
    windows(20, meta=long, seed=1).save(split["val"].path)
    tabular, neural, tuned, board, figures = (new(name) for name in ("automl", "nas", "hpo", "board", "metrics"))
    more = {"leaderboard": board, "metrics": figures, "report": new("report")}
    automl(**split, **BUDGET, trials=1, latency_limit_ms=1000.0, model=tabular, single=new("single"), **more)
    nas(**split, **BUDGET, trials=1, latency_limit_ms=1000.0, model=neural, **more)
    models = {"automl_model": tabular, "nas_model": neural}
    given = {**split, **models, **BUDGET, "trials": 2, "latency_limit_ms": 1000.0}
    hpo(**given, model=tuned, **more)
    assert {row["state"] for row in pq.read_table(board.path).to_pylist()} <= {"trained", "pruned"}
    assert graphs.describe(graphs.load(tuned.path)).meta == long
    some = windows(3, meta=long, seed=2)
    assert Forecaster(tuned.path).forecast(some).shape == (3, horizon)
