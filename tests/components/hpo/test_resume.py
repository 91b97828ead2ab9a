"""A step that is killed and done again in the same run."""

import math
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from components.hpo import hpo as stage
from fleetml.component import Artifact
from fleetml.learn import graph as graphs
from fleetml.learn import search_space
from fleetml.learn.tabular_trainer import TabularTrainer
from fleetml.stack.processes import wait_until

NAMES = ("train", "val", "automl_model", "nas_model", "model", "leaderboard", "metrics", "report")
BUDGET = {"trials": 4, "timeout_seconds": 600, "latency_limit_ms": 1000.0, "seed": 0}
KILLED = """
import sys, time
from pathlib import Path
from components.hpo import hpo as stage
from tests.components.hpo.test_resume import artifacts, BUDGET

folder, real, seen = Path(sys.argv[1]), stage.Tuner.train, []

def train(*given):
    seen.append(given)
    if len(seen) == 3:
        (folder / "third").touch()
        time.sleep(600)
    return real(*given)

stage.Tuner.train = train
stage.hpo(**artifacts(folder), **BUDGET, workspace=str(folder / "workspace"))
"""


def artifacts(folder: Path) -> dict[str, Artifact]:
    return {name: Artifact(name, str(folder / name)) for name in NAMES}


def test_it_goes_on_where_it_was(tmp_path, windows, monkeypatch):
    made = artifacts(tmp_path)
    train, val = windows(60), windows(20, seed=1)
    train.save(made["train"].path)
    val.save(made["val"].path)
    trainer = TabularTrainer(train, val, 0)
    start = search_space.defaults(trainer.families["linear"])
    candidate = trainer.train("linear", start, math.inf, lambda epoch, score: None)
    for name in ("automl_model", "nas_model"):
        graphs.publish(candidate.graph, made[name])
    step = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=Path(__file__).parents[3])
    try:
        assert wait_until(lambda: (tmp_path / "third").exists() or step.poll() is not None, 120)
        assert step.poll() is None
    finally:
        step.kill()
        step.wait()

    real, seen = stage.Tuner.train, tmp_path / "seen"
    monkeypatch.setattr(stage.Tuner, "train", lambda *given: print("trial", file=seen.open("a")) or real(*given))
    stage.hpo(**made, **BUDGET, workspace=str(tmp_path / "workspace"))
    rows = pq.read_table(made["leaderboard"].path).to_pylist()
    assert [row["state"] for row in rows] == ["trained"] * 4
    assert seen.read_text().splitlines() == ["trial"] * 2, "the third and the fourth"
