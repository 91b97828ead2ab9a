"""What a run usually takes: of runs that did all the work."""

from pathlib import Path
from typing import Any

import pytest

from fleetml import atomic
from fleetml.errors import ConfigurationError
from fleetml.records import Run
from fleetml.records.attempt import Attempt
from fleetml.records.usual import Usual, usual


def record(home: Path, run_id: str, seconds: float, kwh: float, cached: bool = False, **known: Any) -> None:
    document = {
        **{"run_id": run_id, "pipeline": "p", "state": "succeeded", "started": 100.0, "finished": 100.0 + seconds},
        **{"steps": ["a"], "cost": {"kwh": kwh}, "begun": 99.9},
    }
    atomic.write_json(home / "runs" / run_id / "run.json", {**document, **known})
    outcome = {"state": "succeeded", "cached": cached, "parameters": {}, "artifacts": {}}
    Run(home, run_id).write(Attempt("a", 1, "succeeded", outcome=outcome))


def test_the_means_are_of_runs_that_did_all_the_work(tmp_path: Path) -> None:
    record(tmp_path, "one", 60, 0.1)
    record(tmp_path, "two", 120, 0.3)
    record(tmp_path, "cached", 1, 0.0, cached=True)
    record(tmp_path, "resumed", 9000, 0.2, begun=5000.0)
    record(tmp_path, "reopened", 9000, 0.2, reopened=True)
    record(tmp_path, "failed", 5, 0.0, state="failed")
    record(tmp_path, "of_another", 5, 0.0, pipeline="q")
    record(tmp_path, "running", 5, 0.0, finished=None)
    record(tmp_path, "unpriced", 5, 0.0, cost=None)
    assert usual(tmp_path, "p") == Usual(2, 90.0, 120.0, pytest.approx(0.2))


def test_only_the_latest_count(tmp_path: Path) -> None:
    for number in range(25):
        begin = 1000.0 * number
        seconds = 999 if number < 5 else 10
        record(tmp_path, f"r{number}", 0, 0.1, started=begin, finished=begin + seconds, begun=begin)
    assert usual(tmp_path, "p") == Usual(20, 10.0, 10.0, pytest.approx(0.1))


def test_a_pipeline_that_never_ran_whole_is_refused(tmp_path: Path) -> None:
    record(tmp_path, "cached", 1, 0.0, cached=True)
    with pytest.raises(
        ConfigurationError, match=r"'q' has none .*\(there are runs of p\); run it once, or give --hours"
    ):
        usual(tmp_path, "q")
    with pytest.raises(ConfigurationError, match="'p' has none"):
        usual(tmp_path, "p")
