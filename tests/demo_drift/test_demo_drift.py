"""What the demonstration is made of; the whole of it runs in tests/e2e/test_unattended.py."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.demo_drift import bad
from benchmarks.demo_drift.fleet import BEGIN, BUSY, FACTOR, PERIOD, STEP, Fleet
from benchmarks.demo_drift.timeline import Timeline
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.windows import Windows

CONTEXT = 24


@pytest.fixture
def fleet() -> Fleet:
    return Fleet("cpu", vms=12, before=1, days=1, seed=7)


def histories(fleet: Fleet, at: int) -> dict[str, np.ndarray]:
    return {each.vm_id: np.array(each.history) for each in fleet.questions(BEGIN + at * STEP, CONTEXT)}


def test_the_change_multiplies_the_target_for_half_of_each_hour_from_its_moment_on(fleet: Fleet) -> None:
    before, after = histories(fleet, 0), histories(fleet, 2 * CONTEXT)
    fleet.change(BEGIN + STEP)
    assert all(np.array_equal(history, before[vm]) for vm, history in histories(fleet, 0).items())
    ratios = [history / after[vm] for vm, history in histories(fleet, 2 * CONTEXT).items() if after[vm].min() > 0]
    assert len(ratios) > 5
    for ratio in ratios:
        assert set(ratio.round(6)) == {1.0, FACTOR}
        assert (ratio > 1).sum() == CONTEXT * BUSY // PERIOD


def test_a_question_tells_what_was_measured_and_nothing_later(fleet: Fleet, tmp_path: Path) -> None:
    questions = fleet.questions(BEGIN, CONTEXT)
    fleet.write(tmp_path / "known.parquet", BEGIN + STEP)
    known = pl.read_parquet(tmp_path / "known.parquet")
    assert known["timestamp"].max() < BEGIN + STEP
    last = known.filter(pl.col("timestamp") >= BEGIN)
    for each in questions:
        assert len(each.history) == CONTEXT
        assert np.isfinite(each.history).all()
        (usage,) = last.filter(pl.col("vm_id") == each.vm_id)["cpu_usage"]
        assert each.history[-1] == each.covariates["vm_metrics:cpu_usage"] == pytest.approx(usage)


def test_the_bad_version_is_the_good_one_with_its_forecasts_trebled(
    graph: Callable[..., Path], windows: Callable[..., Windows], tmp_path: Path
) -> None:
    good = graph()
    bad.spoil(good, tmp_path / "bad.onnx")
    some = windows(5)
    assert Forecaster(tmp_path / "bad.onnx").meta == Forecaster(good).meta
    np.testing.assert_allclose(
        Forecaster(tmp_path / "bad.onnx").forecast(some), bad.FACTOR * Forecaster(good).forecast(some), rtol=1e-5
    )


def test_in_a_pipe_the_timeline_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    line = Timeline()
    with line.phase("calm") as detail:
        detail.append("nothing to do")
    line.mark("drift noticed", line.zero, "score 0.9", line.zero + timedelta(seconds=42).total_seconds())
    said = capsys.readouterr().out
    assert "calm" in said
    assert "+42.0 s  drift noticed" in said
    assert "\x1b" not in said
    assert line.of("drift noticed").seconds == pytest.approx(42)
