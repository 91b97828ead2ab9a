"""Deploying models that score rows: asked over gRPC beside their own graph; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.deploy import trials
from components.deploy.deploy import deploy
from fleetml.component import Artifact
from fleetml.data import cluster as table
from fleetml.errors import InvalidData, InvalidParameter, StepFailed
from fleetml.learn import scorer
from fleetml.learn.anomaly import graphs
from fleetml.learn.anomaly.graphs import Calibration, Scaling
from fleetml.learn.anomaly.samples import METRICS, Samples
from fleetml.learn.placement import cluster, policies
from fleetml.learn.placement.cluster import Episodes
from fleetml.learn.window_anomaly import mahalanobis, novelty
from fleetml.serving import deployment
from fleetml.serving.client import Client, Node, Tensors

SMALL = cluster.from_table(table.generate("cluster://?nodes=30"))


class Stage:
    """The inputs of deploy for a model of a kind."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        names = ("model", "test", "train", "metrics")
        self.model, self.test, self.train, self.metrics = (Artifact(name, str(folder / name)) for name in names)
        if kind == "placement":
            graph = policies.build(SMALL, policies.FGD, "fgd").SerializeToString()
            scorer.publish(graph, self.model, test_gpu_allocation=0.9)
            Episodes(SMALL, (SMALL.arrivals(1),)).save(self.test.path)
            Episodes(SMALL, (SMALL.arrivals(2),)).save(self.train.path)
        elif kind == "window_anomaly":
            values = np.random.default_rng(0).normal(50, 5, (200, 6)).astype(np.float32)
            graph = mahalanobis.fit([values], mahalanobis.Settings(4, 2, recent=0)).graph(METRICS).SerializeToString()
            scorer.publish(graph, self.model, test_average_precision=0.7)
            for part in (self.test, self.train):
                Samples(np.array(["vm"] * 200), values).save(part.path)
        else:
            values = np.exp(np.random.default_rng(0).normal(3, 0.3, (100, 6))).astype(np.float32)
            values[-1, 4] = np.nan
            time = np.datetime64("2026-03-01T00:00", "us") + np.arange(100) * np.timedelta64(1, "h")
            rows = Samples(np.array(["vm"] * 100), values, time)
            graph = graphs.distance(Scaling.robust(values), Calibration(), "quartiles").SerializeToString()
            scorer.publish(graph, self.model, test_average_precision=0.4)
            rows.save(self.test.path)
            rows.save(self.train.path)

    def deploy(self, address: str = "", version: str = "1", name: str = "") -> dict[str, Any]:
        made = (self.model, self.test, self.train, self.metrics)
        return deploy(*made, name or self.kind, version, str(self.folder / "serving"), address, "")


@pytest.mark.parametrize(("kind", "confidence"), [("placement", 0.9), ("anomaly", 0.4), ("window_anomaly", 0.7)])
def test_a_version_is_asked_before_it_serves(
    tmp_path: Path, serve: Callable[..., str], kind: str, confidence: float
) -> None:
    stage = Stage(tmp_path, kind)
    address = serve(tmp_path / "serving")
    assert stage.deploy(address) == {"endpoint": address}
    assert stage.metrics.metadata["confidence"] == confidence
    assert stage.metrics.metadata["grpc_ms_p50"] > 0
    with Client(address) as client:
        if kind == "placement":
            assert not client.optimize_placement("job", {"gpu": 8}, [Node("a")]).candidates
        elif kind == "window_anomaly":
            usual, wild = (
                client.infer(kind, {"metrics": np.full((1, 5, 6), level, np.float32)}) for level in (50, 5e5)
            )
            assert usual.model_version == wild.model_version == "1"
            assert usual.outputs["score"][0, 0] < 1 < wild.outputs["score"][0, 0]
            assert wild.outputs["contribution"].shape == (1, 6)
            with pytest.raises(InvalidParameter, match="of shape"):
                client.infer(kind, {"metrics": np.zeros((1, 4, 6), np.float32)}, "vm")
        else:
            assert client.detect_anomaly("vm", {"cpu": 20.0}).model_version == "1"


def test_without_a_server_one_of_its_own_is_asked(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "anomaly")
    assert "not running" in stage.deploy()["endpoint"]
    assert deployment.read(tmp_path / "serving")["anomaly"].version == "1"
    reference = pq.read_table(tmp_path / "serving/models/anomaly/1/reference.parquet")
    assert set(reference.column_names) == {"vm_id", "origin", *METRICS, "forecast"}
    assert (reference["origin"][1].as_py() - reference["origin"][0].as_py()).total_seconds() == 3600
    assert 0 <= min(reference["forecast"].to_pylist()) <= max(reference["forecast"].to_pylist()) <= 1


def test_a_kind_has_one_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="under the name of its kind"):
        Stage(tmp_path, "anomaly").deploy(name="bandwidth")


def test_detectors_in_time_live_side_by_side_under_names_of_their_own(
    tmp_path: Path, serve: Callable[..., str]
) -> None:
    stage = Stage(tmp_path, "window_anomaly")
    address = serve(tmp_path / "serving")
    for name in ("window_anomaly", "window_anomaly.web-0001"):
        stage.deploy(address, name=name)
    values = np.random.default_rng(0).normal(50, 5, (900, 1))
    novel = novelty.graph(novelty.Settings(60, 20, 10, 5, (1,)), "network_io").SerializeToString()
    scorer.publish(novel, stage.model, test_average_precision=0.7)
    stage.deploy(address, name="network_io_novelty")
    with Client(address) as client:
        for name, inputs in (
            ("window_anomaly", {"metrics": np.full((1, 5, 6), 5e5, np.float32)}),
            ("window_anomaly.web-0001", {"metrics": np.full((1, 5, 6), 5e5, np.float32)}),
            ("network_io_novelty", {"history": np.append(values[:59, 0], 5e5)[None].astype(np.float32)}),
        ):
            assert client.infer(name, inputs).outputs["score"][0, 0] > 1


@pytest.mark.parametrize("name", ["anomaly", "bandwidth"])
def test_a_detector_in_time_takes_no_name_that_callers_ask_for_something_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidData, match="a name that no other kind has"):
        Stage(tmp_path, "window_anomaly").deploy(name=name)


def test_another_answer_than_the_graphs_fails_and_points_back(
    tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, "anomaly")
    address = serve(tmp_path / "serving")
    stage.deploy(address)
    own = trials._own
    monkeypatch.setattr(trials, "_own", lambda *asked: type(own(*asked))(True, 0.123456, "", "", {}))
    with pytest.raises(StepFailed, match="may differ by"):
        stage.deploy(address, "2")
    assert deployment.read(tmp_path / "serving")["anomaly"].version == "1"


def test_other_scores_than_the_window_graphs_fail_too(
    tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, "window_anomaly")
    address = serve(tmp_path / "serving")
    stage.deploy(address)
    asked = Client.infer

    def other(self: Client, *given: Any) -> Tensors:
        answer = asked(self, *given)
        return Tensors(answer.model_version, {"score": answer.outputs["score"] + 1})

    monkeypatch.setattr(Client, "infer", other)
    with pytest.raises(StepFailed, match="may differ by"):
        stage.deploy(address, "2")
    assert deployment.read(tmp_path / "serving")["window_anomaly"].version == "1"
