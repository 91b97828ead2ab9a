"""The judge of detectors in time: what it finds better is better, and what is no such detector is refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from fleetml.errors import InvalidData
from fleetml.learn import judges
from fleetml.learn.anomaly import graphs
from fleetml.learn.anomaly.graphs import Calibration, Scaling
from fleetml.learn.anomaly.samples import METRICS, Samples
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.window_anomaly import judge, mahalanobis, novelty
from fleetml.learn.window_anomaly.mahalanobis import Settings


def fleet(rows: int, seed: int, vms: int = 2) -> Samples:
    """VMs whose metrics follow one load; none has a latency."""
    drawn, made = np.random.default_rng(seed), []
    for _ in range(vms):
        load = 40 + 20 * np.sin(np.arange(rows) / 11)
        made.append(np.stack([load + drawn.normal(0, 1, rows) + at for at in range(len(METRICS))], axis=1))
    values = np.concatenate(made).astype(np.float32)
    values[:, METRICS.index("latency")] = np.nan
    return Samples(np.repeat([f"vm-{number}" for number in range(vms)], rows), values)


@pytest.fixture
def held_out(tmp_path: Path) -> dict[str, np.ndarray]:
    fleet(200, 1).save(tmp_path / "test")
    return judge.read(tmp_path / "test")


def fitted(settings: Settings, columns: list[str], seed: int = 0) -> bytes:
    rows, places = fleet(600, seed, vms=1).values, [METRICS.index(name) for name in columns]
    return mahalanobis.fit([rows[:, places]], settings).graph(columns).SerializeToString()


def that_says(graph: bytes, rows: object) -> bytes:
    """The same graph, whose metadata say of its rows what they are told to, None: nothing."""
    model = onnx.load_from_string(graph)
    said = {prop.key: prop.value for prop in model.metadata_props if prop.key != "fleetml.rows"}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, said if rows is None else {**said, "fleetml.rows": json.dumps(rows)})
    return model.SerializeToString()


KNOWN = [name for name in METRICS if name != "latency"]
WINDOW = Settings(steps=4, smooth=2, recent=0)


def test_it_is_the_judge_of_its_kind(held_out: dict[str, np.ndarray]) -> None:
    assert judges.of("window_anomaly") is judge
    said = judge.about(held_out)
    assert (said["rows"], said["vms"]) == (200, 2)
    assert judge.OUT_OF_STEP in said["incidents"]


def test_a_detector_of_windows_of_all_metrics_beats_one_of_a_metric_alone(held_out: dict[str, np.ndarray]) -> None:
    good, poor = (judge.score(held_out, fitted(WINDOW, columns)) for columns in (KNOWN, ["memory"]))
    assert good["average_precision"] > poor["average_precision"]
    assert good["auroc"] > 0.9
    assert good["per_incident"]["out_of_step"]["auroc"] > 0.8
    assert good["found"] > 0.8
    assert good["false_alarms_per_vm_week"] < 2016 / 10
    assert "slow_answers" not in good["per_incident"]  # no VM has a latency
    assert judge.score(held_out, fitted(WINDOW, KNOWN)) == good


def test_the_baseline_is_of_the_kind_and_misses_what_no_row_shows(held_out: dict[str, np.ndarray]) -> None:
    (graph,) = judge.baselines(held_out).values()
    found = judge.score(held_out, graph)
    assert found["per_incident"]["cpu_runaway"]["auroc"] > 0.9
    assert 0 <= found["average_precision"] <= 1


def test_an_alarm_that_is_given_once_counts_for_the_half_hour(held_out: dict[str, np.ndarray]) -> None:
    small = novelty.Settings(history=60, past=20, peak=10, quiet=5, patterns=(1,))
    found = judge.score(held_out, novelty.graph(small, "cpu").SerializeToString())
    assert found["per_incident"]["cpu_runaway"]["found"] > 0.9
    assert found["per_incident"]["disk_storm"]["found"] < 0.5


def test_a_graph_is_given_the_steps_it_takes_and_before_the_first_that_one() -> None:
    asked = judge.Asked(fitted(WINDOW, KNOWN))
    rows = np.arange(12.0).reshape(-1, 1).repeat(6, axis=1).astype(np.float32)
    assert asked.window(rows, 7)[:, 0].tolist() == [3, 4, 5, 6, 7]
    assert asked.window(rows, 1)[:, 0].tolist() == [0, 0, 0, 0, 1]
    assert asked.inputs(asked.window(rows, 7)[None])["metrics"].shape == (1, 5, 5)
    small = novelty.Settings(history=60, past=20, peak=10, quiet=5, patterns=(1,))
    one = judge.Asked(novelty.graph(small, "memory").SerializeToString())
    assert one.inputs(one.window(rows, 7)[None])["history"].shape == (1, 60)


def test_what_is_no_such_detector_is_refused(held_out: dict[str, np.ndarray], tmp_path: Path) -> None:
    row = graphs.distance(Scaling.robust(fleet(50, 0).values), Calibration(), "other").SerializeToString()
    nameless = novelty.graph(novelty.Settings(history=60, past=20, peak=10, quiet=5)).SerializeToString()
    for graph in (row, nameless, b"no graph"):
        with pytest.raises(InvalidGraph, match="train again"):
            judge.score(held_out, graph)
    for rows in (None, 0, "many"):
        with pytest.raises(InvalidGraph, match="must say how many rows it takes"):
            judge.score(held_out, that_says(fitted(WINDOW, KNOWN), rows))
    fleet(5, 0).save(tmp_path / "short")
    with pytest.raises(InvalidData, match="give more days"):
        judge.read(tmp_path / "short")
