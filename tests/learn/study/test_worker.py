"""Trials that break, each in a process of its own."""

import math
import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from optuna.distributions import FloatDistribution

from fleetml.learn.study.loop import run
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.worker import grace
from fleetml.stack.processes import wait_until

SPACE = {"x": FloatDistribution(0.0, 1.0)}


def only(objective, **settings):
    """Return the outcome of trial 0, after which trial 1 is a good one."""

    def first(trial):
        return objective(trial) if trial.number == 0 else 1.0

    broken, good = run(first, SPACE, StudySettings(trials=2, sampler="random", **settings)).outcomes
    assert good.state == "complete"
    return broken


def test_a_crash_is_an_outcome():
    outcome = only(lambda trial: os.kill(os.getpid(), signal.SIGUSR1), trial_seconds=60.0)
    assert (outcome.state, outcome.reason) == ("crashed", "its process was ended by SIGUSR1")
    outcome = only(lambda trial: os._exit(3), trial_seconds=60.0)
    assert "status 3" in outcome.reason


def test_a_hang_is_ended_with_what_it_started(tmp_path):
    def hang(trial):
        child = subprocess.Popen(["sleep", "1000"])
        (tmp_path / "pid").write_text(str(child.pid))
        time.sleep(1000)

    outcome = only(hang, trial_seconds=1.0)
    assert outcome.state == "late"
    assert outcome.seconds < 60
    assert wait_until(lambda: not alive(int((tmp_path / "pid").read_text())), 60)


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_memory_beyond_the_limit_is_refused_at_once_or_seen():
    outcome = only(lambda trial: len(bytearray(400 * 2**20)), memory_mb=100)
    assert (outcome.state, outcome.reason) == ("memory", "MemoryError")

    def slowly(trial):
        held = []
        while True:
            held.append(b"x" * 2**20)
            time.sleep(0.001)

    assert only(slowly, memory_mb=60).state == "memory"


def test_a_trial_within_its_limits_completes():
    outcome = only(lambda trial: len(bytearray(20 * 2**20)) / 2**20, memory_mb=200, trial_seconds=60.0)
    assert outcome.values == (20.0,)


def test_what_a_fork_keeps_notes_and_constrains_comes_back():
    def objective(trial):
        trial.keep(b"graph")
        trial.note("epochs", 7)
        trial.constrain("size", 1.0)
        return trial.params["x"]

    result = run(objective, SPACE, StudySettings(trials=3, workers=3))
    assert [each.notes for each in result.outcomes] == [{"epochs": 7}] * 3
    assert result.best is None
    assert result.nearest.violation == 1.0
    assert {path.read_bytes() for path in result.kept.values()} == {b"graph"}


def test_workers_run_at_the_same_time(tmp_path):
    def meet(trial):
        (tmp_path / str(trial.number)).touch()
        assert wait_until(lambda: len(list(tmp_path.iterdir())) == 3, 60)
        return 0.0

    result = run(meet, SPACE, StudySettings(trials=3, workers=3))
    assert [each.state for each in result.outcomes] == ["complete"] * 3


def test_a_fork_is_pruned_by_the_study():
    def objective(trial):
        for step in range(8):
            trial.report(step, trial.params["x"])
        return trial.params["x"]

    points = [{"x": 0.1}, {"x": 0.1}, {"x": 0.9}]
    settings = StudySettings(trials=3, pruner="median", trial_seconds=60.0)
    assert [each.state for each in run(objective, SPACE, settings, points).outcomes] == [
        "complete",
        "complete",
        "pruned",
    ]


def test_the_time_of_the_study_ends_its_trials():
    result = run(lambda trial: time.sleep(1000), SPACE, StudySettings(trials=8, seconds=0.5, workers=2))
    assert [each.state for each in result.outcomes] == ["late", "late"]
    assert "budget" in result.reason_to_stop
    assert result.seconds < 60


def test_an_interrupt_ends_the_trials_too(monkeypatch, tmp_path):
    from fleetml.learn.study import worker

    pids = tmp_path / "pids"

    def sleep(trial):
        Path(pids).write_text(str(os.getpid()))
        time.sleep(1000)

    def interrupt(self):
        assert wait_until(lambda: pids.exists() and pids.read_text(), 60)
        raise KeyboardInterrupt

    monkeypatch.setattr(worker.Crew, "attend", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(sleep, SPACE, StudySettings(trials=2, trial_seconds=900.0))
    assert not psutil.pid_exists(int(pids.read_text()))


LASTING = {"lasting": True, "memory_mb": 400, "sampler": "random"}


def test_a_lasting_process_takes_trial_after_trial_and_remembers(tmp_path):
    seen = []

    def count(trial):
        seen.append(trial.number)
        trial.note("process", os.getpid())
        trial.report(0, 1.0)  # the study is asked from each of them
        return float(len(seen))

    outcomes = run(count, SPACE, StudySettings(trials=3, pruner="median", **LASTING)).outcomes
    assert [each.value for each in outcomes] == [1.0, 2.0, 3.0]
    assert len({each.notes["process"] for each in outcomes} - {os.getpid()}) == 1
    assert not psutil.pid_exists(outcomes[0].notes["process"]), "it ends with the study"


@pytest.mark.parametrize(
    ("broken", "state"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "crashed"),
        (lambda: time.sleep(1000), "late"),
        (lambda: slowly(), "memory"),
    ],
)
def test_a_trial_that_breaks_a_lasting_process_costs_its_own_result_alone(broken, state):
    def objective(trial):
        if trial.number == 1:
            broken()
        trial.note("process", os.getpid())
        return trial.params["x"]

    settings = StudySettings(trials=4, trial_seconds=2.0, spare_seconds=0.5, **LASTING)
    outcomes = run(objective, SPACE, settings).outcomes
    assert [each.state for each in outcomes] == ["complete", state, "complete", "complete"]
    first, _, third, fourth = (each.notes.get("process") for each in outcomes)
    assert first != third == fourth


def slowly():
    held = []
    while True:
        held.append(bytearray(2**20))
        time.sleep(0.001)


def test_what_breaks_does_not_change_what_the_others_are():
    def objective(trial, broken):
        if broken and trial.number == 2:
            os._exit(1)
        return trial.params["x"]

    settings = StudySettings(trials=6, seed=3, sampler="random", lasting=True)
    found = [run(partial(objective, broken=broken), SPACE, settings).outcomes for broken in (False, True)]
    assert [each.params for each in found[0]] == [each.params for each in found[1]]
    assert [each.state for each in found[1]].count("crashed") == 1


def test_a_process_in_which_trials_leave_much_memory_takes_no_other():
    left = []

    def objective(trial):
        trial.note("process", os.getpid())
        left.append(bytearray((150 if trial.number == 1 else 5) * 2**20))
        return 0.0

    outcomes = run(objective, SPACE, StudySettings(trials=4, **LASTING)).outcomes
    first, second, third, fourth = (each.notes["process"] for each in outcomes)
    assert first == second != third == fourth


def test_a_process_that_died_after_its_trial_is_replaced():
    def objective(trial):
        trial.note("process", os.getpid())
        subprocess.Popen(["sh", "-c", f"sleep 0.05; kill -9 {os.getpid()}"])
        return 0.0

    def slow(trial):
        if trial.number:  # in a second process, while the first one dies
            return 1.0
        return objective(trial)

    from fleetml.learn.study import loop

    real, killed = loop.finish, []

    def finish(ledger, asked, outcome, seconds):
        process = outcome.notes.get("process")
        if process:
            killed.append(wait_until(lambda: not alive(process), 60))
        real(ledger, asked, outcome, seconds)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "finish", finish)
        outcomes = run(slow, SPACE, StudySettings(trials=2, **LASTING)).outcomes
    assert killed == [True]
    assert [each.state for each in outcomes] == ["complete", "complete"]


@pytest.mark.parametrize(("had", "more"), [(0.5, 2.0), (30.0, 3.0), (600.0, 10.0), (math.inf, 10.0)])
def test_a_trial_may_end_a_tenth_of_its_time_late(had, more):
    assert grace(had) == more


def test_what_ends_a_little_after_its_deadline_is_not_lost():
    def late(trial):
        assert wait_until(lambda: time.monotonic() > trial.deadline + 0.2, 60)
        return 1.0

    assert only(late, trial_seconds=0.3).values == (1.0,)
