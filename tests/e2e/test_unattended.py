"""The demonstration of the closed loop in a short form: nobody touches what happens after the change (docs/demo-drift.md)."""

from __future__ import annotations

import pytest

from benchmarks.demo_drift.__main__ import play
from benchmarks.demo_drift.script import Script
from benchmarks.demo_drift.timeline import Timeline
from tests.e2e.fleet import ROOT, Fleet
from tests.e2e.test_train_forecaster import BUDGET

SHORT = Script(
    target="cpu",  # the other tests of the stack are about bandwidth
    vms=30,
    before=5,
    training={**BUDGET, "window_days": 5, "max_windows": 1000},
    patience=600.0,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not (ROOT / ".venv/orchestrator/bin/airflow").exists(), reason="no .venv/orchestrator: make setup"
    ),
]


def test_a_change_is_noticed_learnt_tried_and_promoted_and_a_bad_version_rolled_back(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    line = Timeline()
    assert play(SHORT, fleet.settings, dict(fleet.variables), line) == 0, capsys.readouterr().out
    names = [mark.name for mark in line.marks]
    version = names[names.index("challenger registered") + 1].removeprefix("begin ")
    assert [name for name in names if name.endswith(f" {version}")] == [
        *(f"{action} {version}" for action in ("begin", "advance", "advance", "promote"))
    ]
    bad = names[names.index("bad version pushed") + 1].removeprefix("begin ")
    assert f"rollback {bad}" in names
    assert line.of("drift noticed").at < line.of("retrain started").at < line.of("new champion serves").at
    assert ", 0 failed," in line.of("traffic ended").detail
    assert (fleet.settings.home / "demo/timeline.png").stat().st_size > 10_000
