"""Trials that crash, hang or eat memory, in a search as it is by default."""

import os
import signal
import time

import pyarrow.parquet as pq
import pytest

from components.hpo import hpo as stage
from components.nas.nas import nas
from fleetml.component import Artifact
from fleetml.learn import graph as graphs
from fleetml.learn import search_space
from fleetml.learn.neural_trainer import NeuralTrainer
from fleetml.learn.study import limits
from fleetml.learn.tabular_trainer import TabularTrainer

NAMES = ("train", "val", "model", "leaderboard", "metrics", "report")


@pytest.fixture
def made(tmp_path, windows, monkeypatch):
    """Return the artifacts of a search, the inputs written."""
    for name, value in {"_SHARE": 0.1, "_SPARE": 0.0, "_LEAST_SPARE": 2.0}.items():
        monkeypatch.setattr(limits, name, value)
    made = {name: Artifact(name, str(tmp_path / name)) for name in NAMES}
    windows(60).save(made["train"].path)
    windows(20, seed=1).save(made["val"].path)
    return made


def breaking(real, tmp_path):
    """Return what trains as `real`, but crashes the second time, hangs the third and eats memory the fourth."""

    def train(*given):
        with (tmp_path / "begun").open("a") as begun:
            begun.write(".")
        match len((tmp_path / "begun").read_text()):
            case 2:
                os.kill(os.getpid(), signal.SIGKILL)
            case 3:
                time.sleep(1000)
            case 4:
                held = []
                while True:
                    held.append(bytearray(2**20))
                    time.sleep(0.001)
        return real(*given)

    return train


STATES = ["trained", "failed", "failed", "failed", "trained"]


def told(made):
    rows = pq.read_table(made["leaderboard"].path).sort_by("trial").to_pylist()
    assert [row["state"] for row in rows] == STATES, rows
    crashed, hung, ate = (row["reason"] for row in rows[1:4])
    assert "its process was ended by SIGKILL" in crashed
    assert "it did not end in its time" in hung
    assert "the limit is 300 MB" in ate or "MemoryError" in ate
    assert made["model"].path.exists()


def test_hpo_goes_on(made, tmp_path, windows, monkeypatch):
    trainer = TabularTrainer(windows(60), windows(20, seed=1), 0)
    start = search_space.defaults(trainer.families["linear"])
    candidate = trainer.train("linear", start, float("inf"), lambda epoch, score: None)
    models = {name: Artifact(name, str(tmp_path / name)) for name in ("automl_model", "nas_model")}
    for each in models.values():
        graphs.publish(candidate.graph, each)
    monkeypatch.setattr(stage.Tuner, "train", breaking(stage.Tuner.train, tmp_path))
    budget = {"trials": 5, "timeout_seconds": 60, "latency_limit_ms": 1000.0, "memory_mb": 300}
    stage.hpo(**made, **models, **budget, seed=0)
    told(made)


def test_nas_goes_on(made, tmp_path, monkeypatch):
    monkeypatch.setattr(NeuralTrainer, "trained", breaking(NeuralTrainer.trained, tmp_path))
    budget = {"trials": 5, "timeout_seconds": 60, "latency_limit_ms": 1000.0, "memory_mb": 300}
    nas(**made, **budget, seed=0)
    told(made)
