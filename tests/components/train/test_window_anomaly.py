"""The step that fits the window detector to series of VMs: what it learns, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest

from components.train.window_anomaly import train_window_anomaly
from fleetml.component import Artifact
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn import scorer
from fleetml.learn.anomaly.samples import METRICS, Samples
from fleetml.learn.forecaster import session
from fleetml.serving import backends, kinds, tensors


def rows(vms: int = 2, length: int = 300, absent: tuple[str, ...] = ("latency",)) -> Samples:
    values = np.random.default_rng(0).uniform(10, 90, (vms * length, len(METRICS))).astype(np.float32)
    values[:, [METRICS.index(name) for name in absent]] = np.nan
    return Samples(np.repeat([f"vm-{number}" for number in range(vms)], length), values)


def trained(given: Samples, folder: Path, vm: str = "", **settings: object) -> tuple[Artifact, Artifact]:
    train, model, metrics = (Artifact(name, str(folder / name)) for name in ("train", "model", "metrics"))
    train.metadata["vm"] = vm
    given.save(train.path)
    train_window_anomaly(
        train, **({"metric": "", "steps": 6, "smooth": 4, "trim": 0.0} | settings), model=model, metrics=metrics
    )
    return model, metrics


def test_a_fleet_gets_a_detector_that_says_which_metrics_it_takes(tmp_path: Path) -> None:
    model, metrics = trained(rows(), tmp_path)
    loaded = session(model.path)
    said = scorer.described(loaded)
    assert said.about["rows"] == 18
    assert said.about["columns"] == [name for name in METRICS if name != "latency"]
    assert metrics.metadata["metrics"] == ", ".join(said.about["columns"])
    burst = np.full((1, 18, 5), 50, np.float32)
    burst[:, -4:] = 1e9
    assert loaded.run(["score"], {"metrics": burst})[0][0, 0] > 1
    assert model.metadata["vms"] == metrics.metadata["vms"] == 2
    assert "vm" not in model.metadata


def test_a_detector_of_one_vm_says_whose_it_is_and_is_asked_by_raw_tensors(tmp_path: Path) -> None:
    model, _ = trained(rows(vms=1), tmp_path, "vm-0")
    assert model.metadata["vm"] == "vm-0"
    name, kind = kinds.of(backends.choose("cpu").load(model.path.read_bytes()))
    assert name == "window_anomaly"
    assert kind is tensors.KIND


def test_a_metric_alone_is_looked_at_for_novelty(tmp_path: Path) -> None:
    model, metrics = trained(rows(), tmp_path, metric="network_io")
    said = scorer.described(session(model.path))
    assert (said.family, said.about["columns"], metrics.metadata["metrics"]) == (
        "novelty",
        ["network_io"],
        "network_io",
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": 0}, "steps must be from"),
        ({"metric": "latency"}, "metric must be empty or one that all VMs have"),
        ({"trim": 0.9}, "trim must be from"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, given: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        trained(rows(), tmp_path, **given)


def test_series_without_a_metric_in_common_or_history_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="must have a metric in common"):
        trained(rows(absent=METRICS), tmp_path)
    with pytest.raises(InvalidData, match="give more history"):
        trained(rows(length=5), tmp_path)
