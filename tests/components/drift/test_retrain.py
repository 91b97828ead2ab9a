"""When a retrain is due, and what its event says."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.drift.retrain import RETRAINED, decide, retrain_event, retrained
from fleetml.component import Artifact, main
from fleetml.errors import ConfigurationError, InvalidParameter
from fleetml.serving import deployment, retrains
from fleetml.serving.deployment import GRAPH, POINTER, Card
from fleetml.settings import Settings
from fleetml.triggers import load as load_triggers

ROOT = Path(__file__).parents[3]

NOTHING = {"due": False, "kind": "", "event": {}}
CALM = {"drifted": False, "score": 0.1, "features": {}, "accuracy": 0.9}
MOVED = {"drifted": True, "score": 0.7, "features": {"history_mean": 0.3, "cpu_usage": 0.6}, "accuracy": 0.9}


def ask(root: Path, found: dict[str, Any], **parameters: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    metrics = Artifact("metrics", "")
    given = {
        "serving_dir": str(root),
        "model_name": "bandwidth",
        "accuracy_floor": 0.8,
        "cooldown_hours": 6.0,
        "retrain_hours": 4.0,
        "retrains_per_day": 3,
    }
    return decide(metrics, **{**given, **found, **parameters}), metrics.metadata


def test_calm_traffic_and_good_forecasts_need_nothing(tmp_path: Path) -> None:
    assert ask(tmp_path, CALM) == (NOTHING, {"due": False, "verdict": "nothing to do"})
    assert ask(tmp_path, {**CALM, "accuracy": -1.0})[0]["due"] is False  # nothing is known of it
    assert retrains.read(tmp_path) == []


def test_drift_is_told_worst_feature_first_and_only_once(tmp_path: Path) -> None:
    answer, _ = ask(tmp_path, MOVED)
    (begun,) = retrains.read(tmp_path)
    assert (answer["due"], answer["kind"]) == (True, "forecaster")
    assert answer["event"] == {
        "model": "bandwidth",
        "reason": "drift",
        "score": 0.7,
        "features": {"cpu_usage": 0.6, "history_mean": 0.3},
        "evidence": {"retrain": begun["id"], "accuracy": 0.9, "accuracy_floor": 0.8, "score": 0.7},
    }
    assert list(answer["event"]["features"]) == ["cpu_usage", "history_mean"]
    again, metrics = ask(tmp_path, MOVED)
    assert again == NOTHING
    assert "is under way" in metrics["verdict"]


def test_bad_forecasts_are_a_reason_of_their_own(tmp_path: Path) -> None:
    assert ask(tmp_path, {**CALM, "accuracy": 0.79})[0]["event"]["reason"] == "accuracy"


@pytest.mark.parametrize(
    ("found", "unknown", "known"),
    [
        ({**CALM, "score": -1.0, "accuracy": 0.5}, "score", "accuracy"),
        ({**MOVED, "accuracy": -1.0}, "accuracy", "score"),
    ],
)
def test_what_is_unknown_is_no_figure(tmp_path: Path, found: dict[str, Any], unknown: str, known: str) -> None:
    event = ask(tmp_path, found)[0]["event"]
    (begun,) = retrains.read(tmp_path)
    for told in (event["evidence"], begun):
        assert (told[unknown], told[known]) == (None, found[known])
    assert event["score"] == event["evidence"]["score"]
    metrics = Artifact("m", "")
    assert retrain_event(metrics, event) == {"event": event}
    assert metrics.metadata.get("score") == event["score"]
    assert None not in metrics.metadata.values()


def test_a_missing_metric_is_not_brought_back_by_a_retrain(tmp_path: Path) -> None:
    assert ask(tmp_path, {**MOVED, "features": {}, "score": 1.0})[0]["due"] is False


def test_a_retrain_that_ended_makes_room_for_the_next(tmp_path: Path) -> None:
    evidence = ask(tmp_path, MOVED)[0]["event"]["evidence"]
    retrained(Artifact("m", ""), str(tmp_path), "bandwidth", evidence)
    assert ask(tmp_path, MOVED, cooldown_hours=0.0)[0]["due"] is True


def test_a_run_that_no_event_started_notes_nothing(tmp_path: Path) -> None:
    retrained(Artifact("m", ""), "", "bandwidth", {})
    assert not (tmp_path / retrains.FILE).exists()


def test_a_rollout_under_way_is_waited_for(tmp_path: Path) -> None:
    version = {"version": "8", "graph": "g", "sha256": "0"}
    served = {**version, "version": "7", "rollout": {**version, "id": "8-x", "mode": "canary", "share": 0.05}}
    document = {"format": "fleetml/deployment/2", "models": {"bandwidth": served}}
    (tmp_path / POINTER).write_text(json.dumps(document))
    assert deployment.read(tmp_path)["bandwidth"].rollout
    answer, metrics = ask(tmp_path, MOVED)
    assert answer["due"] is False
    assert metrics["verdict"] == "version 8 is on its way (canary 8-x)"
    assert retrains.read(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "due"), [("forecaster", True), ("anomaly", True), ("placement", False), ("any", False)]
)
def test_a_model_s_kind_says_who_retrains_it(tmp_path: Path, kind: str, due: bool) -> None:
    graph = tmp_path / "graph"
    graph.write_bytes(kind.encode())
    deployment.install(tmp_path, Card(kind, "1", deployment.digest(graph), None, {"kind": kind}), {GRAPH: graph})
    deployment.point(tmp_path, kind, "1")
    answer, metrics = ask(tmp_path, MOVED, model_name=kind)
    assert (answer["due"], answer["kind"]) == (due, kind if due else "")
    assert bool(retrains.read(tmp_path)) == due, "what nobody would begin must not count as begun"
    assert due or metrics["verdict"] == f"no pipeline retrains a model of kind {kind} on an event; train it by hand"


def test_each_kind_that_is_retrained_has_its_own_asset() -> None:
    """The branch that runs says of which kind an event is, and somebody listens for it."""
    settings = Settings.from_environment({"FLEETML_PROJECT": str(ROOT)})
    emits = load_triggers(ROOT / "dags/monitor/triggers.yaml", settings).emits
    assert {emit.asset for emit in emits} == {f"fleetml://drift/{kind}" for kind in RETRAINED}
    ir = yaml.safe_load((ROOT / "dags/monitor/pipeline.yaml").read_text())
    for emit in emits:
        (served, branch, _), kind = emit.step.split("/"), emit.asset.rpartition("/")[2]
        tasks = ir["components"][f"comp-{served}"]["dag"]["tasks"]
        assert tasks[branch]["triggerPolicy"]["condition"].endswith(f"decide-kind'] == '{kind}'")
        listening = load_triggers(ROOT / f"dags/train_{kind}/triggers.yaml", settings).assets
        assert emit.asset in {asset.uri for asset in listening}


@pytest.mark.parametrize("wrong", [{"cooldown_hours": -1.0}, {"retrain_hours": -1.0}, {"retrains_per_day": -1}])
def test_limits_below_zero_are_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter, match="must be 0 or more"):
        ask(tmp_path, MOVED, **wrong)


def test_a_serving_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="serving folder must exist"):
        ask(tmp_path / "nowhere", MOVED)


def test_the_event_is_the_output_of_its_step(tmp_path: Path) -> None:
    event = ask(tmp_path, MOVED)[0]["event"]
    executor_input = {
        "inputs": {"parameterValues": {"decided": event}},
        "outputs": {
            "parameters": {"event": {"outputFile": str(tmp_path / "event")}},
            "artifacts": {"metrics": {"artifacts": [{"name": "metrics", "uri": str(tmp_path / "metrics")}]}},
            "outputFile": str(tmp_path / "executor_output.json"),
        },
    }
    assert main(["components.drift.retrain:retrain_event", json.dumps(executor_input)]) == 0
    assert json.loads((tmp_path / "executor_output.json").read_text())["parameterValues"] == {"event": event}
    assert retrain_event(Artifact("m", ""), event) == {"event": event}
