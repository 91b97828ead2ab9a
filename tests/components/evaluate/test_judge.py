"""judge and gate of graphs that score rows: beside the baselines, the champion, within the budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluate.gate import NothingWithinBudget, gate
from components.evaluate.judge import judge
from fleetml.component import Artifact
from fleetml.data import cluster as table
from fleetml.errors import InvalidParameter
from fleetml.learn import scorer
from fleetml.learn.anomaly import graphs
from fleetml.learn.anomaly.graphs import Calibration, Scaling
from fleetml.learn.anomaly.samples import Samples
from fleetml.learn.placement import cluster, policies, search
from fleetml.learn.placement.cluster import Episodes
from fleetml.learn.search_space import defaults

SMALL = cluster.from_table(table.generate("cluster://?nodes=30&seed=3"))
BAD = {"fragmentation": -1.0, "gpu_left": -2.0}


class Stage:
    """The inputs of both stages for placement: what the search found, and the champion, "" for none."""

    def __init__(self, folder: Path, found: dict[str, float], champion: dict[str, float] | None = None) -> None:
        self.folder, self.version = folder, "4" if champion else ""
        Episodes(SMALL, (SMALL.arrivals(1), SMALL.arrivals(2))).save(self.artifact("test").path)
        self.models = {name: self.artifact(name) for name in ("automl_model", "champion_model")}
        self.put("automl_model", found)
        if champion:
            self.put("champion_model", champion)
        else:
            self.models["champion_model"].path.touch()

    def put(self, name: str, weights: dict[str, float]) -> None:
        graph = policies.build(SMALL, weights, name).SerializeToString()
        scorer.publish(graph, self.models[name], train_gpu_allocation=0.5)

    def artifact(self, name: str) -> Artifact:
        return Artifact(name, str(self.folder / name))

    def judge(self) -> dict[str, Any]:
        made = (self.artifact(name) for name in ("test", "scores", "report", "metrics"))
        judge(*made, "placement", self.version, **self.models)
        return json.loads(self.artifact("scores").path.read_text())

    def gate(self, **budget: float) -> dict[str, Any]:
        made = (self.artifact(name) for name in ("scores", "test", "model", "metrics"))
        scores, test, self.model, metrics = made
        budget = {"latency_budget_ms": 1000.0, **budget}
        return gate(scores, test, self.model, metrics, self.version, **budget, **self.models)


def test_candidates_are_judged_beside_the_plain_policies(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"fragmentation": 1.0, **defaults(search.SPACE)})
    found = stage.judge()
    assert set(found["candidates"]) == {"first_fit", "best_fit", "fgd", "automl"}
    assert (found["measure"], found["more_is_better"], found["episodes"]) == ("gpu_allocation", True, 2)
    for entry in found["candidates"].values():
        assert entry["latency_ms_p99"] >= entry["latency_ms_p50"] > 0
        assert entry["gpu_allocation"] == pytest.approx(np.mean(entry["per_episode"]))
    page = (tmp_path / "report").read_text()
    assert "<svg" in page
    assert "fgd" in page


def test_the_best_passes_though_it_is_a_plain_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path, BAD)
    found = stage.judge()["candidates"]
    decision = stage.gate()
    assert decision["promote"]
    assert decision["winner"] == max(found, key=lambda name: found[name]["gpu_allocation"]) != "automl"
    assert "gpu allocation 0." in decision["reason"]
    assert stage.model.metadata["kind"] == "placement"
    assert stage.model.metadata["test_gpu_allocation"] == found[decision["winner"]]["gpu_allocation"]


def test_a_champion_that_is_as_good_stays(tmp_path: Path) -> None:
    good = {"fragmentation": 1.0, **defaults(search.SPACE)}
    stage = Stage(tmp_path, good, good)
    stage.judge()
    scores = json.loads((tmp_path / "scores").read_text())
    for name in ("first_fit", "best_fit", "fgd"):  # on so few nodes a plain one may be better by luck
        scores["candidates"][name]["gpu_allocation"] = 0.1
    (tmp_path / "scores").write_text(json.dumps(scores))
    decision = stage.gate()
    assert not decision["promote"]
    assert "champion 4 (gpu allocation" in decision["reason"]


def test_a_worse_champion_is_beaten_and_one_of_another_kind_is_left_out(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"fragmentation": 1.0, **defaults(search.SPACE)}, BAD)
    stage.judge()
    assert stage.gate()["promote"]
    stage.models["champion_model"].path.write_bytes(b"no graph")
    assert "champion" not in stage.judge()["candidates"]
    assert "does not fit" in stage.gate()["reason"]


def test_a_graph_too_large_for_the_budget_does_not_pass(tmp_path: Path) -> None:
    stage = Stage(tmp_path, BAD)
    stage.judge()
    with pytest.raises(NothingWithinBudget, match=r"at most 0.001 MB"):
        stage.gate(size_budget_mb=0.001)


def test_detectors_are_judged_on_incidents(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    values = np.exp(drawn.normal(3, 0.3, (400, 6))).astype(np.float32)
    Samples(np.array(["vm"] * 400), values).save(tmp_path / "test")
    models = {name: Artifact(name, str(tmp_path / name)) for name in ("trained_model", "champion_model")}
    graph = graphs.distance(Scaling.robust(values), Calibration(), "other").SerializeToString()
    scorer.publish(graph, models["trained_model"])
    made = [Artifact(name, str(tmp_path / name)) for name in ("test", "scores", "report", "metrics")]
    judge(*made, "anomaly", "", **models)
    found = json.loads((tmp_path / "scores").read_text())["candidates"]
    assert set(found) == {"z_score", "quartiles", "trained"}
    assert all(entry["auroc"] > 0.9 for entry in found.values())
    with pytest.raises(InvalidParameter, match="kind must be one of"):
        judge(*made, "rhymes", "", **models)
