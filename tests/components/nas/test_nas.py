import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from components.nas.nas import nas
from fleetml.component import Artifact
from fleetml.learn import graph as graphs
from fleetml.learn.search import SearchFailed


@pytest.fixture
def made(tmp_path, windows):
    """Return the artifacts of nas, the inputs written."""
    made = {name: Artifact(name, str(tmp_path / name)) for name in ("train", "val", "model", "leaderboard", "metrics")}
    windows(300).save(made["train"].path)
    windows(60, seed=1).save(made["val"].path)
    return made


def test_each_family_is_tried_and_the_best_graph_kept(made):
    nas(**made, trials=3, timeout_seconds=60, latency_limit_ms=100.0, seed=0)
    rows = pq.read_table(made["leaderboard"].path).to_pylist()
    assert {row["family"] for row in rows} == {"mlp", "gru", "tcn"}
    assert {row["state"] for row in rows} <= {"trained", "pruned"}
    assert graphs.describe(graphs.load(made["model"].path)).family == rows[0]["family"]
    assert list(made["metrics"].metadata)[:2] == ["family", "validation_mase"]


def test_a_limit_no_graph_keeps_is_an_error_that_says_so(made):
    with pytest.raises(SearchFailed, match=r"infeasible: latency .* exceeds the limit of 1e-06 ms; raise"):
        nas(**made, trials=3, timeout_seconds=60, latency_limit_ms=1e-6, seed=0)
    rows = pq.read_table(made["leaderboard"].path).to_pylist()
    assert {row["state"] for row in rows} == {"infeasible"}


def test_it_runs_as_a_step_and_says_how_far_it_is(made, tmp_path):
    artifacts = {
        name: {"artifacts": [{"name": name, "uri": artifact.uri, "type": {"schemaTitle": "system.Artifact"}}]}
        for name, artifact in made.items()
    }
    executor_input = {
        "inputs": {
            "parameterValues": {"trials": 1, "timeout_seconds": 30, "latency_limit_ms": 100.0, "seed": 0},
            "artifacts": {name: artifacts[name] for name in ("train", "val")},
        },
        "outputs": {
            "artifacts": {name: artifacts[name] for name in ("model", "leaderboard", "metrics")},
            "outputFile": str(tmp_path / "executor_output.json"),
        },
    }
    command = [sys.executable, "-m", "fleetml.component", "components.nas.nas:nas", json.dumps(executor_input)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "trial 0: mlp" in done.stdout
    output = json.loads((tmp_path / "executor_output.json").read_text())
    assert output["artifacts"]["model"]["artifacts"][0]["metadata"]["family"] == "mlp"
