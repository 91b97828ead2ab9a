"""`fleetml observe` and `fleetml monitor` on this project's own pipelines, run here: from the log to what is started."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from fleetml.cli import main
from fleetml.learn.windows import Windows
from fleetml.records import Run
from fleetml.serving import deployment, retrains, truth
from tests.components.drift.conftest import Monitor, monitor

__all__ = ["monitor"]

ROOT = Path(__file__).parents[2]
STARTED = """from kfp import dsl

from components.drift.component import retrained


@dsl.pipeline(name="answer")
def answer(reason: str = "", evidence: dict = {}, target: str = "", serving_dir: str = ""):
    retrained(serving_dir=serving_dir, model_name=target, evidence=evidence).set_caching_options(False)
"""
TRIGGERS = """assets:
  - {uri: fleetml://drift/forecaster, parameters: {reason: reason, evidence: evidence, target: model}}
defaults: {serving_dir: "${FLEETML_SERVING_DIR}"}
"""


@pytest.fixture
def fleetml(tmp_path: Path, monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return the command line on a project with our monitor, and a pipeline that its event starts instead of a training."""
    project = tmp_path / "project"
    (project / "dags/answer").mkdir(parents=True)
    for name in ("components", "src", "images", ".venv", "feature_repo"):
        (project / name).symlink_to(ROOT / name)
    for name in ("monitor", "observe"):
        (project / "dags" / name).symlink_to(ROOT / "dags" / name)
    (project / "dags/answer/pipeline.py").write_text(STARTED)
    (project / "dags/answer/triggers.yaml").write_text(TRIGGERS)
    monkeypatch.setenv("FLEETML_PROJECT", str(project))
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLEETML_SERVING_DIR", str(monitor.root))
    assert main(["compile", str(project / "dags/answer/pipeline.py")]) == 0
    return lambda *words: main([str(word) for word in words])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What the VMs that are asked about did in the last two hours."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    rows = [(f"vm-{vm}", now - timedelta(minutes=5 * k), 100.0) for vm in range(10) for k in range(24)]
    path = tmp_path / "metrics.csv"
    table = pl.DataFrame(rows, schema=["vm_id", "timestamp", "network_received"], orient="row")
    table.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(path)
    return path


def test_what_became_true_is_kept(fleetml: Callable[..., int], monitor: Monitor, source: Path) -> None:
    assert fleetml("observe", "bandwidth", source) == 0
    kept = truth.read(monitor.root, "bandwidth", datetime.now(UTC) - timedelta(days=1))
    assert kept["vm_id"].n_unique() == 10
    assert set(kept["value"]) == {100.0}


def test_drifted_traffic_starts_what_listens_for_it_once(
    fleetml: Callable[..., int],
    monitor: Monitor,
    windows: Callable[..., Windows],
    source: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monitor.log(windows(300, seed=9, factor=3.0))
    where = ("-p", f"source={source}", "-p", "min_forecasts=1000")
    assert fleetml("monitor", "bandwidth", *where) == 0
    said = capfd.readouterr().out
    assert "accuracy: unknown" in said
    assert "history_mean" in said
    assert "verdict: retrain bandwidth-" in said
    assert "starting answer" in said
    begun, ended = retrains.read(monitor.root)
    assert (begun["reason"], ended["state"], ended["id"]) == ("drift", "ended", begun["id"])
    (started,) = (Run(tmp_path / "home", p.name) for p in (tmp_path / "home/runs").glob("answer*"))
    assert started.read()["parameters"]["reason"] == "drift"
    assert started.read()["parameters"]["evidence"]["retrain"] == begun["id"]

    assert fleetml("monitor", "bandwidth", *where) == 0
    said = capfd.readouterr().out
    assert "UTC, the next may from 20" in said
    assert "starting answer" not in said


def test_bad_forecasts_are_due_but_left_alone_when_asked(
    fleetml: Callable[..., int],
    monitor: Monitor,
    windows: Callable[..., Windows],
    source: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monitor.log(windows(300, seed=9))
    where = ("-p", f"source={source}", "-p", "min_forecasts=10")
    assert fleetml("monitor", "bandwidth", "--no-retrain", *where) == 0
    said = capfd.readouterr().out
    assert "accuracy: 0.000" in said
    assert "verdict: 0 retrains have begun in the last 24 hours, 0 may" in said
    assert retrains.read(monitor.root) == []


def test_without_the_truth_s_source_drift_is_still_judged(
    fleetml: Callable[..., int], monitor: Monitor, windows: Callable[..., Windows], capfd: pytest.CaptureFixture[str]
) -> None:
    monitor.log(windows(300, seed=9, factor=3.0))
    assert fleetml("monitor", "bandwidth", "-p", "source=/nowhere.csv") == 1
    said = capfd.readouterr().out
    assert "verdict: retrain bandwidth-" in said
    assert (monitor.root / "metrics/monitor.prom").exists()


def test_a_model_that_is_not_served_is_refused_at_once_and_leaves_nothing(
    fleetml: Callable[..., int], monitor: Monitor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleetml("monitor", "bandwith", "--no-retrain") == 2
    assert capsys.readouterr().err == (
        "error: 'bandwith' is not served; served: bandwidth; did you mean 'bandwidth'?\n"
    )
    assert not (tmp_path / "home/runs").exists()
    assert not (monitor.root / "monitor").exists()


def test_the_pipeline_refuses_it_in_its_first_step(
    fleetml: Callable[..., int], monitor: Monitor, source: Path, tmp_path: Path
) -> None:
    place = ("-p", "model_name=nobody", "-p", f"source={source}", "-p", f"serving_dir={monitor.root}")
    assert fleetml("run", tmp_path / "project/dags/monitor", "--run-id", "looked", *place) == 1
    steps = Run(tmp_path / "home", "looked").latest()
    assert {name for name, attempt in steps.items() if attempt.state == "failed"} == {"find-served"}
    assert not any(attempt.state == "succeeded" for attempt in steps.values())
    assert not (monitor.root / "monitor").exists()
    assert not (monitor.root / "metrics").exists()


def test_before_anything_is_served_the_schedule_finds_nothing_to_watch(
    fleetml: Callable[..., int], monitor: Monitor, source: Path, tmp_path: Path
) -> None:
    deployment.restore(monitor.root, "bandwidth", "3", None)
    place = ("-p", f"source={source}", "-p", f"serving_dir={monitor.root}")
    assert fleetml("run", tmp_path / "project/dags/monitor", "--run-id", "looked", *place) == 0
    steps = Run(tmp_path / "home", "looked").latest()
    assert {name for name, attempt in steps.items() if attempt.state == "succeeded"} == {"find-served"}
    assert not (monitor.root / "monitor").exists()


def test_of_too_few_questions_the_drift_is_unknown(
    fleetml: Callable[..., int],
    monitor: Monitor,
    windows: Callable[..., Windows],
    source: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monitor.log(windows(3, seed=9))
    assert fleetml("monitor", "bandwidth", "-p", f"source={source}") == 0
    said = capfd.readouterr().out
    assert "drift: unknown, 3 logged predictions; at least 100 are needed" in said


def test_what_is_no_target_has_no_truth_to_read(
    fleetml: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleetml("observe", "bandwith", "nowhere.csv") == 2
    said = capsys.readouterr().err
    assert "MODEL must be one of bandwidth, cpu," in said
    assert "did you mean 'bandwidth'?" in said
    assert not (tmp_path / "home/runs").exists()
    assert fleetml("observe", "bandwidth", "nowhere.csv") == 2
    assert "does not exist; give another SOURCE" in capsys.readouterr().err
