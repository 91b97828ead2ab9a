"""The untrained mixture beside the trials of the architecture search."""

import dataclasses
import logging
import math
from functools import partial

import pyarrow.parquet as pq

from components.nas.beside import Beside, mixture
from components.nas.nas import nas
from fleetml.component import Artifact
from fleetml.learn import export, mixture_candidate, search
from fleetml.learn import graph as graphs
from fleetml.learn.limits import Limits
from fleetml.learn.windows import Meta

# A week and 288 steps: with a season of a day in hours
LONG = Meta("bandwidth", 3600, context=456, horizon=4, season=24)
NAMES = ("train", "val", "model", "leaderboard", "metrics", "report")


def searched(tmp_path, windows, meta=LONG, factor=1.0, **more):
    """Return the rows of the leaderboard by trial, and the artifacts, after one trial of the search."""
    made = {name: Artifact(name, str(tmp_path / name)) for name in NAMES}
    windows(60, meta=meta).save(made["train"].path)
    windows(30, meta=meta, seed=1).save(made["val"].path)
    given = {"trials": 1, "timeout_seconds": 600, "latency_limit_ms": 5000.0, "seed": 0, **more}
    nas(**made, **given)
    return pq.read_table(made["leaderboard"].path).sort_by("trial").to_pylist(), made


def test_it_competes_where_the_context_is_long_enough(tmp_path, windows):
    rows, made = searched(tmp_path, windows, second_objective="operations")
    assert [row["family"] for row in rows] == ["mlp", "mixture"]
    assert [row["state"] for row in rows] == ["trained", "trained"]
    assert rows[1]["operations"] > 0
    best = min(rows, key=lambda row: row["validation_mase"])
    assert best["front"]
    found = graphs.describe(graphs.load(made["model"].path))
    assert found.family == best["family"] == made["model"].metadata["family"]


def beside(graph, val, limits, seconds=60.0):
    return Beside(*mixture_candidate.judged(graphs.load(graph()), val, limits, seconds), 1.0)


def test_above_a_limit_it_is_told_and_not_chosen(graph, windows):
    val = windows(30)
    mixture = beside(graph, val, Limits(latency_ms=1e-6))
    line = mixture.line(7)
    assert (line.trial, line.family, line.state) == (7, "mixture", "infeasible")
    assert line.reason.endswith("exceeds the limit of 1e-06 ms")
    assert math.isnan(line.validation_mase)
    assert not mixture.better(None, met=False)
    assert not mixture.better(search.judge(graphs.load(graph(add=1e9)), val), met=True)


def test_it_is_chosen_where_it_is_better_or_nothing_else_keeps_the_limits(graph, windows):
    val = windows(30)
    mixture = beside(graph, val, Limits())
    worse = search.judge(graphs.load(graph(add=1e9)), val)
    same = search.judge(graphs.load(graph()), val)
    assert mixture.better(worse, met=True)
    assert not mixture.better(same, met=True)
    assert mixture.better(same, met=False)
    assert mixture.better(None, met=True)


def test_it_is_not_judged_where_that_would_take_too_long(graph, windows):
    line = beside(graph, windows(30), Limits(), seconds=1e-9).line(1)
    assert line.reason.startswith("to judge it on 30 windows would take")
    assert line.state == "infeasible"


def test_with_a_shorter_context_it_is_left_out_and_the_log_says_so(tmp_path, windows, caplog):
    caplog.set_level(logging.INFO)
    rows, _ = searched(tmp_path, windows, meta=dataclasses.replace(LONG, context=455))
    assert [row["family"] for row in rows] == ["mlp"]
    assert "mixture is left out: it needs a context of 456 steps, the windows have 455" in caplog.text


def test_a_graph_that_is_not_its_network_is_left_out_and_the_log_says_so(windows, monkeypatch, caplog):
    monkeypatch.setattr(export, "check_equal", partial(export.check_equal, tolerance=-1.0))
    assert mixture(windows(8, meta=LONG), Limits(), 60.0) is None
    assert "the family mixture is left out: a graph must forecast what its Python model does" in caplog.text


def test_a_day_at_five_minutes_is_too_short_and_eight_days_are_not():
    assert mixture_candidate.why_not(Meta("cpu", context=288))
    assert not mixture_candidate.why_not(Meta("cpu", context=2304))
