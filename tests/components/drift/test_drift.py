"""The monitor, from the server's prediction log to the event, with real Evidently."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.deploy.deploy import write_reference
from components.drift.collect import collect
from components.drift.drift import drift
from components.drift.event import retrain_event
from fleetml.component import Artifact, main
from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter
from fleetml.learn.windows import Meta, Windows
from fleetml.serving import deployment, features, predictions
from fleetml.serving.deployment import Card

BITBRAINS = Path(__file__).parents[4] / "shared/data/bitbrains_rnd/vm001-150_2013-08_all_metrics.parquet"


class Monitor:
    """A serving folder with one deployed version, and the monitor's steps."""

    def __init__(self, folder: Path, graph: Path, trained: Windows) -> None:
        self.folder, self.root = folder, folder / "serving"
        self.made: dict[str, Artifact] = {}
        version = deployment.install(
            self.root, Card("bandwidth", "3", deployment.digest(graph)), {deployment.GRAPH: graph}
        )
        deployment.point(self.root, "bandwidth", "3")
        write_reference(trained, version / deployment.REFERENCE)

    def log(self, asked: Windows, version: str = "3", hours_ago: float = 1.0, covariates: bool = True) -> None:
        """Write what a server would have logged for these requests."""
        when = datetime.now(UTC) - timedelta(hours=hours_ago)
        known = asked.covariates if covariates else np.full_like(asked.covariates, np.nan)
        figures = features.values(asked.history, known)
        columns = {
            **dict.fromkeys(("time", "origin"), [when] * len(asked)),
            "vm_id": asked.vm_id.tolist(),
            "model_version": [version] * len(asked),
            "role": ["champion"] * len(asked),
            **dict.fromkeys(("rollout", "failure"), [""] * len(asked)),
            "horizon": [4] * len(asked),
            "step_seconds": [300] * len(asked),
            "latency_ms": [1.0] * len(asked),
            **dict(zip(features.columns(asked.meta.covariates), figures.T, strict=True)),
            "predictions": [[1.0]] * len(asked),
        }
        table = pa.table(columns, schema=predictions.schema(features.columns(asked.meta.covariates)))
        place = self.root / "predictions" / "model=bandwidth" / f"date={when.date()}"
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, place / f"{version}-{len(list(place.iterdir()))}.parquet")

    def artifact(self, name: str) -> Artifact:
        self.made[name] = Artifact(name, str(self.folder / name))
        return self.made[name]

    def collect(self, **parameters: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
        given = {"serving_dir": str(self.root), "model_name": "bandwidth", "since_hours": 24.0, **parameters}
        collect(self.artifact("current"), self.artifact("reference"), self.artifact("metrics"), **given)
        return pd.read_parquet(self.folder / "current"), pd.read_parquet(self.folder / "reference")

    def drift(self, **parameters: Any) -> dict[str, Any]:
        self.collect()
        given = {"threshold": 0.3, "column_threshold": 1.0, "min_rows": 100, **parameters}
        tables = self.made["current"], self.made["reference"]
        return drift(*tables, self.artifact("report"), self.artifact("metrics"), **given)


@pytest.fixture
def monitor(tmp_path: Path, graph: Callable[..., Path], windows: Callable[..., Windows]) -> Monitor:
    return Monitor(tmp_path, graph(), windows(1000))


def test_unshifted_traffic_does_not_drift(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(300, seed=9))
    judged = monitor.drift()
    assert judged == {"drifted": False, "score": 0.0, "features": {}}
    assert list(monitor.made["metrics"].metadata)[:3] == ["drifted", "score", "worst"]
    report = (monitor.folder / "report").read_text()
    assert "history_mean" in report
    assert 'src="http' not in report


def test_which_vms_ask_is_no_drift(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    everyone = windows(3000, seed=9)
    monitor.log(everyone[np.isin(everyone.vm_id, ["vm-9"])])  # the one whose traffic is a thousand times vm-0's
    assert monitor.drift()["drifted"] is False


def test_twice_the_traffic_drifts_and_says_where(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(300, seed=9, factor=2.0))
    judged = monitor.drift()
    assert judged["drifted"] is True
    assert set(judged["features"]) == {"history_mean", "history_last", "history_std"}
    assert judged["score"] == 0.75
    assert min(judged["features"].values()) >= 1.0


def test_few_vms_whose_covariates_stand_still_are_no_drift(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    asked = windows(300, seed=9)
    asked.covariates[:] = 25.0 + 10 * (asked.vm_id == "vm-3")[:, None]  # the store has one value of each VM, a low one
    monitor.log(asked)
    assert monitor.drift(column_threshold=0.5)["features"] == {}


def test_a_vm_unknown_to_training_is_measured_by_all(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    asked = windows(300, seed=9)
    strangers = Windows(**{**vars(asked), "vm_id": np.array(["new"] * 300)})
    monitor.log(strangers)
    assert monitor.drift()["drifted"] is False


def test_a_covariate_that_was_never_looked_up_is_not_judged(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(300, seed=9), covariates=False)
    monitor.drift()
    assert monitor.made["metrics"].metadata["not_judged"] == "cpu_usage"


def test_too_few_predictions_are_said_not_judged(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(30, seed=9, factor=100.0))
    assert monitor.drift() == {"drifted": False, "score": 0.0, "features": {}}
    assert "30 logged predictions; at least 100 are needed" in (monitor.folder / "report").read_text()


def test_only_recent_requests_to_the_served_version_count(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(10), hours_ago=2)
    monitor.log(windows(20), hours_ago=30)
    monitor.log(windows(40), version="2")
    current, reference = monitor.collect(since_hours=24.0)
    assert len(current) == 10
    assert list(current.columns) == list(reference.columns)
    assert len(monitor.collect(since_hours=48.0)[0]) == 30


def test_before_anything_is_deployed_nothing_drifts(monitor: Monitor) -> None:
    deployment.restore(monitor.root, "bandwidth", None)
    assert monitor.drift()["drifted"] is False


def test_what_collect_cannot_do_is_said(monitor: Monitor) -> None:
    with pytest.raises(ConfigurationError, match="serving folder must exist"):
        monitor.collect(serving_dir=str(monitor.folder / "nowhere"))
    with pytest.raises(InvalidParameter, match="since_hours above 0"):
        monitor.collect(since_hours=0.0)
    (monitor.root / "models/bandwidth/3/reference.parquet").unlink()
    with pytest.raises(InvalidData, match="deploy the model again"):
        monitor.collect()


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 1.5}, {"column_threshold": 0.0}, {"min_rows": 0}])
def test_thresholds_out_of_range_are_refused(monitor: Monitor, wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter, match=r"threshold must lie in \(0, 1\]"):
        monitor.drift(**wrong)


def test_the_event_names_the_worst_feature_first(tmp_path: Path) -> None:
    given = {"features": {"history_mean": 1.5, "cpu_usage": 3.0}, "score": 0.5, "model_name": "bandwidth"}
    executor_input = {
        "inputs": {"parameterValues": given},
        "outputs": {
            "parameters": {"event": {"outputFile": str(tmp_path / "event")}},
            "artifacts": {"metrics": {"artifacts": [{"name": "metrics", "uri": str(tmp_path / "metrics")}]}},
            "outputFile": str(tmp_path / "executor_output.json"),
        },
    }
    assert main(["components.drift.event:retrain_event", json.dumps(executor_input)]) == 0
    event = json.loads((tmp_path / "executor_output.json").read_text())["parameterValues"]["event"]
    assert event == {"model": "bandwidth", "score": 0.5, "features": {"cpu_usage": 3.0, "history_mean": 1.5}}
    assert list(event["features"]) == ["cpu_usage", "history_mean"]
    assert retrain_event(Artifact("m", ""), {}, 0.0, "cpu") == {"event": {"model": "cpu", "score": 0.0, "features": {}}}


@pytest.mark.skipif(not BITBRAINS.exists(), reason=f"the real data are not here ({BITBRAINS.name})")
@pytest.mark.parametrize(("factor", "drifted"), [(1.0, False), (3.0, True)])
def test_real_traffic_of_the_last_days_drifts_only_when_it_is_shifted(
    tmp_path: Path, graph: Callable[..., Path], factor: float, drifted: bool
) -> None:
    meta = Meta(context=288, horizon=4, covariates=("vm_metrics:network_io", "vm_metrics:cpu_usage"))
    series = _bitbrains(40)
    long_ago = _windows(series, meta, range(288, 6000, 120))
    lately = _windows(series, meta, range(6600, 6888, 24), factor)
    monitor = Monitor(tmp_path, graph(), long_ago)
    monitor.log(lately)
    assert monitor.drift()["drifted"] is drifted


def _bitbrains(vms: int) -> dict[str, np.ndarray]:
    """Return {vm: [step, (network, cpu)]} of the first VMs that were there for the whole month."""
    table = pd.read_parquet(BITBRAINS, columns=["vm", "ts", "cpu_pct", "net_rx_kbs", "net_tx_kbs"])
    table["network"] = table["net_rx_kbs"] + table["net_tx_kbs"]
    groups = table.sort_values(["vm", "ts"]).drop_duplicates(["vm", "ts"]).groupby("vm")[["network", "cpu_pct"]]
    whole = {f"vm-{vm}": group.to_numpy(np.float32) for vm, group in groups if len(group) >= 6888}
    return dict(list(whole.items())[:vms])


def _windows(series: dict[str, np.ndarray], meta: Meta, origins: range, factor: float = 1.0) -> Windows:
    rows = [(vm, values, origin) for vm, values in series.items() for origin in origins]
    return Windows(
        vm_id=np.array([vm for vm, _, _ in rows]),
        origin=np.zeros(len(rows), "datetime64[us]"),
        history=np.stack([values[origin - meta.context : origin, 0] for _, values, origin in rows]) * factor,
        covariates=np.stack([values[origin - 1] for _, values, origin in rows]) * [factor, 1.0],
        target=np.zeros((len(rows), meta.horizon), np.float32),
        scale=np.ones(len(rows), np.float32),
        meta=meta,
    )
