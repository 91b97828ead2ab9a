"""A run that is killed and resumed comes out as one that nobody disturbed; benchmarks/resume.py does more of them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.resume import made, survivals
from fleetml.records import Run


def test_runs_killed_at_random_points_come_out_as_undisturbed_ones(tmp_path: Path) -> None:
    found = list(survivals(tmp_path, rounds=4, seed=3))
    assert [survival.wrong for survival in found] == [""] * 4
    assert all(survival.kills for survival in found)
    states = [state for state, *_ in made(Run(tmp_path / "home", "undisturbed")).values()]
    assert (states.count("succeeded"), states.count("skipped"), len(states)) == (13, 1, 15)
