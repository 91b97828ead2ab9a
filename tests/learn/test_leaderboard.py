import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fleetml.component import Artifact
from fleetml.learn import graph as graphs
from fleetml.learn import leaderboard, search
from fleetml.learn.leaderboard import Outcome, Result, SearchFailed
from fleetml.learn.quantiles import LEVELS


def line(trial, score, state="trained", reason=""):
    return Outcome(trial, "test", '{"x": 1}', state, score, 1.0, 1, math.nan if math.isnan(score) else 1.0, reason)


def test_it_lists_every_trial_best_first(tmp_path: Path):
    outcomes = [line(0, 2.0), line(1, math.nan, "failed", "ValueError: no"), line(2, 1.0)]
    Result(outcomes=outcomes).save_leaderboard(tmp_path / "leaderboard")
    rows = pq.read_table(tmp_path / "leaderboard").to_pylist()
    assert [row["trial"] for row in rows] == [2, 0, 1]
    assert (rows[2]["validation_mase"], rows[2]["latency_ms"]) == (None, None)
    assert rows[2]["reason"] == "ValueError: no"
    assert {"family", "hyperparameters", "state", "seconds", "size_bytes"} < set(rows[0])


def test_nothing_trained_is_told_by_its_first_cause():
    with pytest.raises(SearchFailed, match=r"1 trials and none; the first \(test .* was failed: no leaf"):
        Result(outcomes=[line(0, math.nan, "failed", "no leaf")]).incumbent()


def test_publishing_writes_model_leaderboard_and_figures(graph, windows, tmp_path: Path):
    candidate = search.judge(graphs.load(graph()), windows())
    result = Result(best=candidate, outcomes=[line(0, 1.0)])
    model, board, metrics = (Artifact(name, str(tmp_path / name)) for name in ("model", "board", "metrics"))
    leaderboard.publish(result, model, board, metrics, True, windows())
    published = graphs.load(model.path)
    assert graphs.describe(published).family == "test"
    assert graphs.describe(published).quantiles == LEVELS
    assert metrics.metadata["size_bytes"] == published.ByteSize() > candidate.size_bytes
    assert model.metadata["validation_mase"] == candidate.validation_mase
    assert {"family", "hyperparameters", "size_bytes"} < set(model.metadata)
    assert list(metrics.metadata)[:3] == ["family", "validation_mase", "trials"]
