"""judge and gate of detectors in time: beside the champion, whose callers must not notice that another one answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluate.gate import NothingWithinBudget, gate
from components.evaluate.judge import judge
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import baselines, scorer
from fleetml.learn.anomaly.samples import METRICS, Samples
from fleetml.learn.window_anomaly import judge as windows
from fleetml.learn.window_anomaly import mahalanobis, novelty
from fleetml.learn.window_anomaly.mahalanobis import Settings
from fleetml.learn.windows import Meta

LOAD = 40 + 20 * np.sin(np.arange(600) / 11)[:, None] + np.random.default_rng(0).normal(0, 1, (600, 6))
LONG, SHORT = Settings(6, 4), Settings(1, 1)


def detector(settings: Settings, columns: tuple[str, ...] = METRICS) -> bytes:
    rows = LOAD[:300, [METRICS.index(name) for name in columns]]
    return mahalanobis.fit([rows], settings).graph(columns).SerializeToString()


class Stage:
    """The inputs of both stages: what was trained for a VM, "": the fleet, and the champion, version 3."""

    def __init__(self, folder: Path, trained: bytes, champion: bytes, vm: str = "", before: str = "") -> None:
        names = ("test", "scores", "report", "metrics", "model", "trained_model", "champion_model")
        self.made = {name: Artifact(name, str(folder / name)) for name in names}
        self.models = {name: self.made[name] for name in names[-2:]}
        Samples(np.array(["vm"] * 300), LOAD[300:].astype(np.float32)).save(folder / "test")
        self.made["test"].metadata["vm"] = vm
        scorer.publish(trained, self.models["trained_model"], vm=vm)
        self.models["champion_model"].path.write_bytes(champion)
        self.models["champion_model"].metadata["vm"] = before

    def judge(self) -> dict[str, Any]:
        made = (self.made[name] for name in ("test", "scores", "report", "metrics"))
        judge(*made, "window_anomaly", "3", **self.models)
        return json.loads(self.made["scores"].path.read_text())

    def decide(self, champion: float = 0.1, alarms: Mapping[str, float] | None = None, **given: Any) -> dict[str, Any]:
        """Gate the trained one, whose average precision is .5, beside the champion, and a baseline where a test has one.

        `alarms` are the false ones a week and VM of each, 1 where it says nothing.
        """
        taken = {"family": "mahalanobis", "size_bytes": 1000, "latency_ms_p99": 1.0}
        found = {"trained": 0.5, "champion": champion, **dict.fromkeys(windows.baselines({}), 0.6)}
        document = {"kind": "window_anomaly", "measure": windows.MEASURE, "more_is_better": True}
        judged = {
            name: {**taken, windows.MEASURE: value, "false_alarms_per_vm_week": (alarms or {}).get(name, 1.0)}
            for name, value in found.items()
        }
        self.made["scores"].path.write_text(json.dumps({**document, "candidates": judged}))
        return self.gate(**given)

    def gate(self, **given: Any) -> dict[str, Any]:
        made = (self.made[name] for name in ("scores", "test", "model", "metrics"))
        return gate(*made, "3", 1000.0, **given, **self.models)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "PER_INCIDENT", 20)
    monkeypatch.setattr(windows, "baselines", lambda held_out: {})  # judged by tests of their own, and slow


def test_detectors_are_judged_and_gated_beside_the_champion(tmp_path: Path) -> None:
    stage = Stage(tmp_path, detector(LONG), detector(SHORT))
    found = stage.judge()["candidates"]
    assert set(found) == {"trained", "champion"}
    decision = stage.gate(other_inputs=True)
    measured = {name: entry["average_precision"] for name, entry in found.items()}
    assert decision["promote"] == (measured["trained"] > measured["champion"])
    assert "champion 3 (" in decision["reason"]


OTHERS = {
    "as many rows of other metrics": (detector(LONG), detector(LONG, METRICS[::-1])),
    "other rows": (detector(LONG), detector(SHORT)),
    "one metric": (novelty.graph(novelty.Settings(60, 20, 10, 5, (1,)), "cpu").SerializeToString(), detector(LONG)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_champion_that_is_asked_otherwise_stays_unless_told_otherwise(tmp_path: Path, name: str) -> None:
    stage = Stage(tmp_path, *OTHERS[name])
    decision = stage.decide()
    assert not decision["promote"]
    assert "champion 3 stays: it is asked with metrics [batch" in decision["reason"]
    assert "other_inputs=true" in decision["reason"]
    assert stage.decide(other_inputs=True)["promote"]


@pytest.mark.parametrize(("vm", "before", "promoted"), [("a", "a", True), ("a", "", False), ("", "a", False)])
def test_a_detector_of_another_vm_does_not_take_over(tmp_path: Path, vm: str, before: str, promoted: bool) -> None:
    stage = Stage(tmp_path, detector(LONG), detector(LONG), vm, before)
    decision = stage.decide()
    assert decision["promote"] == promoted
    assert promoted or f"of {before or 'the fleet'}, and callers would" in decision["reason"]
    assert stage.decide(other_inputs=True)["promote"]
    assert stage.made["model"].metadata.get("vm", "") == vm


def test_one_that_is_asked_as_the_champion_wins_before_a_better_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "baselines", lambda held_out: {"row_distance": detector(SHORT)})
    stage = Stage(tmp_path, detector(LONG), detector(LONG))
    assert stage.decide()["winner"] == "trained"
    assert stage.decide(other_inputs=True)["winner"] == "row_distance"


def test_a_champion_of_another_kind_stays_too(tmp_path: Path) -> None:
    forecaster = baselines.last_value(Meta(target="bandwidth", context=20, horizon=2, season=4))
    stage = Stage(tmp_path, detector(LONG), forecaster.SerializeToString())
    assert "champion" not in stage.judge()["candidates"]
    decision = stage.gate()
    assert not decision["promote"]
    assert "it is asked with history [batch, 20]" in decision["reason"]


def test_a_champion_that_is_no_graph_is_in_nobodys_way(tmp_path: Path) -> None:
    stage = Stage(tmp_path, detector(LONG), b"no graph")
    assert "champion" not in stage.judge()["candidates"]
    assert stage.gate()["promote"]


def test_the_best_gives_no_more_false_alarms_than_are_admitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "baselines", lambda held_out: {"row_distance": detector(LONG)})
    stage = Stage(tmp_path, detector(LONG), detector(LONG))
    loud = {"row_distance": 800.0}
    assert stage.decide(alarms=loud, false_alarms_per_vm_week=50.0)["winner"] == "trained"
    assert stage.decide(alarms=loud)["winner"] == "row_distance"
    with pytest.raises(
        NothingWithinBudget, match=r"at most 50 .*, no new one does: trained 60.0, champion 1.0, row_distance 800"
    ):
        stage.decide(alarms={**loud, "trained": 60.0}, false_alarms_per_vm_week=50.0)
    with pytest.raises(InvalidParameter, match="false_alarms_per_vm_week must be 0"):
        stage.decide(false_alarms_per_vm_week=-1.0)


def test_a_champion_that_gives_too_many_false_alarms_loses_its_place_to_a_worse_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path, detector(LONG), detector(LONG))
    assert not stage.decide(champion=0.9, false_alarms_per_vm_week=50.0)["promote"]
    decision = stage.decide(champion=0.9, alarms={"champion": 800.0}, false_alarms_per_vm_week=50.0)
    assert decision["promote"]
    assert "champion 3, which gives more false alarms" in decision["reason"]
