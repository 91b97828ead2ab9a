"""The records of a run: attempts that never overwrite each other, a run that belongs to one process."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetml.errors import ConfigurationError, InvalidParameter
from fleetml.records import Attempt, Run, runs

DOCUMENT = {"pipeline": "p", "engine": "local", "parameters": {}, "steps": ["a", "b/c"], "digest": "d"}


@pytest.fixture
def records(tmp_path: Path) -> Run:
    (tmp_path / "ir.yaml").write_text("the IR")
    run = Run(tmp_path, "r")
    run.start(DOCUMENT, tmp_path / "ir.yaml")
    return run


def test_a_run_keeps_a_copy_of_its_pipeline_and_its_start(records: Run) -> None:
    assert records.pipeline.read_text() == "the IR"
    started = records.read()["started"]
    records.finish("failed")
    records.start(DOCUMENT, records.pipeline)
    assert records.read()["started"] == started
    assert records.read()["state"] == "running"
    assert records.read()["finished"] is None


def test_attempts_are_numbered_and_the_last_one_counts(records: Run) -> None:
    for state in ("failed", "succeeded"):
        number, log = records.begin("b/c")
        log.write_text(state)
        records.write(Attempt("b/c", number, state, cost={"cpu_seconds": 2.0}))
    assert [attempt.state for attempt in records.attempts("b/c")] == ["failed", "succeeded"]
    assert records.latest()["b/c"].number == 2
    assert records.log("b/c").read_text() == "succeeded"  # type: ignore[union-attr]
    assert records.log("b/c", 1).read_text() == "failed"  # type: ignore[union-attr]
    assert records.log("b/c", 3) is None
    assert records.log("a") is None
    records.finish("succeeded")
    assert records.read()["cost"]["cpu_seconds"] == 4.0


def test_two_at_once_claim_different_attempts(records: Run) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = [number for number, _ in pool.map(records.begin, ["a"] * 40)]
    assert sorted(numbers) == list(range(1, 41))


def test_what_several_change_at_once_is_all_kept(records: Run) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: records.update(**{f"entry-{n}": n}), range(40)))
    found = records.read()
    assert [found.get(f"entry-{n}") for n in range(40)] == list(range(40))


def test_a_run_that_ended_is_opened_again_and_one_that_did_not_stays_as_it_is(records: Run) -> None:
    assert not records.reopen()
    records.finish("failed")
    assert [records.reopen(), records.reopen()] == [True, True]
    assert (records.read()["state"], records.read()["finished"]) == ("running", None)


def test_a_note_says_why_a_step_did_not_run(records: Run) -> None:
    records.note("a", "skipped", "size = 3 is not > 10")
    attempt = records.latest()["a"]
    assert (attempt.state, attempt.reason, attempt.failure) == ("skipped", "size = 3 is not > 10", None)
    records.note("a", "failed", "broken")
    assert records.latest()["a"].failure["message"] == "broken"  # type: ignore[index]


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "-x", "x" * 300, "a b"])
def test_a_run_id_is_a_file_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidParameter, match="run id"):
        Run(tmp_path, name)


@pytest.mark.parametrize("step", ["../../x", "/etc/x", ""])
def test_a_step_stays_in_its_run(records: Run, step: str) -> None:
    with pytest.raises(InvalidParameter):
        records.begin(step)


def test_a_missing_or_damaged_record_is_told(records: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no run 'x'"):
        Run(tmp_path, "x").read()
    (records.folder / "run.json").write_text("{")
    with pytest.raises(ConfigurationError, match="damaged"):
        records.read()
    assert list(runs(tmp_path)) == []


def test_runs_come_latest_first(tmp_path: Path) -> None:
    for name, started in (("old", 1), ("new", 3), ("mid", 2)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        document = {"run_id": name, "state": "succeeded", "started": started}
        (tmp_path / "runs" / name / "run.json").write_text(json.dumps(document))
    assert [run["run_id"] for run in runs(tmp_path)] == ["new", "mid", "old"]


def test_a_run_belongs_to_one_process_until_that_is_gone(records: Run, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fleetml.records import Run\n"
        f"with Run(Path({str(tmp_path)!r}), 'r').held():\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigurationError, match="another one runs r"), records.held():
            pass
        assert not records.abandoned()
        other.kill()
        other.wait()
    assert records.abandoned()
    with records.held():
        records.finish("failed")
    assert not records.abandoned()


def test_a_reason_tells_no_password(tmp_path: Path) -> None:
    run = Run(tmp_path, "r")
    run.start({"pipeline": "p", "steps": ["a"]})
    assert run.note("a", "skipped", "'http://u:p99@h' == ''").reason == "'http://u:***@h' == ''"
