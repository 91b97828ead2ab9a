"""The monitor, from the server's prediction log to the verdict, with real Evidently."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from components.drift.folder import find_served
from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter
from fleetml.learn.windows import Meta, Windows
from fleetml.serving import deployment
from tests.components.drift.conftest import Monitor

BITBRAINS = Path(__file__).parents[4] / "shared/data/bitbrains_rnd/vm001-150_2013-08_all_metrics.parquet"
NOTHING = {"drifted": False, "score": 0.0, "features": {}, "missing": []}


def test_unshifted_traffic_does_not_drift(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(300, seed=9))
    assert monitor.drift() == NOTHING
    assert list(monitor.made["metrics"].metadata)[:3] == ["drifted", "score", "worst"]
    report = (monitor.folder / "report").read_text()
    assert "history_mean" in report
    assert "No forecast has its truth yet" in report
    assert 'src="http' not in report


def test_which_vms_ask_is_no_drift(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    everyone = windows(3000, seed=9)
    monitor.log(everyone[np.isin(everyone.vm_id, ["vm-9"])])  # the one whose traffic is a thousand times vm-0's
    assert monitor.drift()["drifted"] is False


def test_twice_the_traffic_drifts_and_says_where(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(300, seed=9, factor=2.0))
    judged = monitor.drift()
    assert judged["drifted"] is True
    assert set(judged["features"]) == {"history_mean", "history_last", "history_std", "forecast"}
    assert 0.3 < judged["score"] <= 1
    assert min(judged["features"].values()) > 0.1


def test_forecasts_drift_where_the_traffic_does_not(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(300, seed=9), add=1e6)
    assert set(monitor.drift()["features"]) == {"forecast"}


def test_few_vms_whose_covariates_stand_still_are_no_drift(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    asked = windows(300, seed=9)
    asked.covariates[:] = 25.0 + 10 * (asked.vm_id == "vm-3")[:, None]  # the store has one value of each VM, a low one
    monitor.log(asked)
    assert "cpu_usage" not in monitor.drift()["features"]


def test_a_vm_unknown_to_training_is_measured_by_all(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    asked = windows(300, seed=9)
    strangers = Windows(**{**vars(asked), "vm_id": np.array(["new"] * 300)})
    monitor.log(strangers)
    assert monitor.drift()["drifted"] is False


def test_a_feature_that_went_missing_is_named(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(300, seed=9), covariates=False)
    assert monitor.drift() == {"drifted": True, "score": 1.0, "features": {}, "missing": ["cpu_usage"]}
    assert monitor.made["metrics"].metadata["worst"] == "cpu_usage missing"
    assert "Missing in the live rows, and there in training: cpu_usage" in (monitor.folder / "report").read_text()


def test_too_few_predictions_are_said_not_judged(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(30, seed=9, factor=100.0))
    assert monitor.drift() == {**NOTHING, "score": -1.0}
    assert "30 logged predictions; at least 100 are needed" in (monitor.folder / "report").read_text()


def test_only_recent_requests_count_each_once(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(10), hours_ago=2)
    monitor.log(windows(20), hours_ago=30)
    monitor.log(windows(10), version="2", role="shadow")
    current, reference = monitor.collect(since_hours=24.0)
    assert len(current) == 10
    assert list(current.columns) == list(reference.columns)
    assert len(monitor.collect(since_hours=48.0)[0]) == 30


def test_the_first_hour_of_a_new_version_is_not_taken_for_its_day(
    monitor: Monitor, windows: Callable[..., Windows]
) -> None:
    monitor.log(windows(1100, seed=9), version="2", hours_ago=12)
    monitor.log(windows(110, seed=8, factor=2.0))  # an hour in which more is asked than over a day
    assert monitor.drift() == NOTHING


def test_a_change_is_found_on_the_day_of_a_deployment_too(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(300, seed=9, factor=2.0), version="2", hours_ago=12)
    monitor.log(windows(20, seed=8, factor=2.0))
    assert set(monitor.drift()["features"]) == {"history_mean", "history_last", "history_std"}


@pytest.mark.parametrize(("own", "columns"), [(100, 1), (99, 0)])
def test_forecasts_of_the_served_version_are_compared_once_they_are_half_of_the_answers(
    monitor: Monitor, windows: Callable[..., Windows], own: int, columns: int
) -> None:
    monitor.log(windows(100, seed=9), version="2", add=1e6)
    monitor.log(windows(own, seed=8))
    current, reference = monitor.collect()
    assert len(current) == 100 + own
    assert [list(table.columns).count("forecast") for table in (current, reference)] == [columns] * 2
    assert monitor.made["metrics"].metadata["forecasts"] == own
    assert monitor.drift() == NOTHING


def test_answers_of_a_version_with_other_features_are_left_out(
    monitor: Monitor, windows: Callable[..., Windows]
) -> None:
    monitor.log(windows(10))
    (file,) = monitor.root.rglob("predictions/**/*.parquet")
    pq.write_table(pq.read_table(file).drop_columns(["cpu_usage"]), file.with_name("2-other.parquet"))
    assert len(monitor.collect()[0]) == 10


def test_a_log_from_before_it_told_failures_hinders_nothing(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(10))
    (file,) = monitor.root.rglob("predictions/**/*.parquet")
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["origin", "role", "rollout", "failure"]), file.with_name("2-old.parquet"))
    assert len(monitor.collect()[0]) == 10


def test_before_anything_is_served_there_is_nothing_to_watch(monitor: Monitor) -> None:
    metrics = monitor.artifact("metrics")
    deployment.restore(monitor.root, "bandwidth", "3", None)
    assert find_served(metrics, str(monitor.root), "bandwidth") == {"found": False}
    assert metrics.metadata["note"].startswith("nothing is served yet")
    with pytest.raises(ConfigurationError, match="the serving folder must exist"):
        find_served(metrics, str(monitor.root / "elsewhere"), "bandwidth")


def test_what_is_not_served_beside_what_is_is_refused(monitor: Monitor) -> None:
    metrics = monitor.artifact("metrics")
    assert find_served(metrics, str(monitor.root), "bandwidth") == {"found": True}
    assert metrics.metadata == {"version": "3"}
    with pytest.raises(InvalidParameter, match="'cpu' is not served; served: bandwidth; name one"):
        find_served(metrics, str(monitor.root), "cpu")
    deployment.restore(monitor.root, "bandwidth", "3", None)
    for refused in (monitor.collect, monitor.quality):
        with pytest.raises(InvalidParameter, match="'bandwidth' is not served; served: none; train it"):
            refused()


def test_a_placement_policy_has_nothing_to_be_compared_with(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(windows(300, seed=9, factor=3.0))
    place = monitor.root / "models/bandwidth/3" / deployment.CARD
    place.write_text(json.dumps({**json.loads(place.read_text()), "metadata": {"kind": "placement"}}))
    (monitor.root / "models/bandwidth/3/reference.parquet").unlink()
    current, reference = monitor.collect()
    assert (len(current), len(reference)) == (0, 0)
    assert "not from a stream" in monitor.made["metrics"].metadata["note"]


def test_what_collect_cannot_do_is_said(monitor: Monitor) -> None:
    with pytest.raises(ConfigurationError, match="serving folder must exist"):
        monitor.collect(serving_dir=str(monitor.folder / "nowhere"))
    with pytest.raises(InvalidParameter, match="since_hours above 0"):
        monitor.collect(since_hours=0.0)
    reference = monitor.root / "models/bandwidth/3/reference.parquet"
    pd.read_parquet(reference).drop(columns="origin").to_parquet(reference)
    with pytest.raises(InvalidData, match=r"it lacks origin.*deploy the model again"):
        monitor.collect()
    reference.unlink()
    with pytest.raises(InvalidData, match="deploy the model again"):
        monitor.collect()


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 1.0}, {"column_threshold": 0.0}, {"min_rows": 0}])
def test_thresholds_out_of_range_are_refused(monitor: Monitor, wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter, match=r"threshold must lie in \(0, 1\)"):
        monitor.drift(**wrong)


@pytest.mark.skipif(not BITBRAINS.exists(), reason=f"the real data are not here ({BITBRAINS.name})")
@pytest.mark.parametrize(("factor", "drifted"), [(1.0, False), (3.0, True)])
def test_real_traffic_of_the_last_days_drifts_only_when_it_is_shifted(
    tmp_path: Path, graph: Callable[..., Path], factor: float, drifted: bool
) -> None:
    meta = Meta(context=288, horizon=4, covariates=("vm_metrics:network_io", "vm_metrics:cpu_usage"))
    series = _bitbrains(40)
    long_ago = _windows(series, meta, range(288, 6000, 120))
    lately = _windows(series, meta, range(6600, 6888, 24), factor)
    monitor = Monitor(tmp_path, graph(meta=meta), long_ago)
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
    step = np.timedelta64(meta.step_seconds, "s")
    return Windows(
        vm_id=np.array([vm for vm, _, _ in rows]),
        origin=np.array([np.datetime64("2013-08-01", "us") + origin * step for _, _, origin in rows]),
        history=np.stack([values[origin - meta.context : origin, 0] for _, values, origin in rows])
        * np.float32(factor),
        covariates=np.stack([values[origin - 1] for _, values, origin in rows]) * np.array([factor, 1.0], np.float32),
        target=np.zeros((len(rows), meta.horizon), np.float32),
        scale=np.ones(len(rows), np.float32),
        meta=meta,
    )
