"""Studies that are killed, resumed and shared by processes."""

import signal
import subprocess
import sys
import time

import optuna
import pytest
from optuna.distributions import FloatDistribution

from fleetml.errors import InvalidParameter
from fleetml.learn.study.loop import run
from fleetml.learn.study.settings import StudySettings
from fleetml.stack.processes import wait_until

SPACE = {"x": FloatDistribution(0.0, 1.0)}
SHARED = """
import sys, time
from pathlib import Path
from optuna.distributions import FloatDistribution
from fleetml.learn.study.loop import run
from fleetml.learn.study.settings import StudySettings

folder, trials, workers, hold = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

def objective(trial):
    (folder / f"began-{trial.number}").touch()
    while trial.number == hold and not (folder / "go").exists():
        time.sleep(0.05)
    return trial.params["x"]

settings = StudySettings(trials, sampler="random", workers=workers, storage=str(folder / "journal"))
print(len(run(objective, {"x": FloatDistribution(0.0, 1.0)}, settings).outcomes))
"""


def process(folder, trials, workers=1, hold=-1):
    command = [sys.executable, "-c", SHARED, str(folder), str(trials), str(workers), str(hold)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def journal(folder, trials, **settings):
    return StudySettings(trials, sampler="random", storage=str(folder / "journal"), **settings)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_study_that_was_killed_ends_with_its_trials(tmp_path, workers):
    killed = process(tmp_path, 6, workers, hold=3)
    assert wait_until(lambda: (tmp_path / "began-3").exists(), 60)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    asked = []
    result = run(lambda trial: asked.append(dict(trial.params)) or trial.params["x"], SPACE, journal(tmp_path, 6))
    assert len(result.outcomes) == 6
    assert {each.state for each in result.outcomes} == {"complete"}
    lost = [each for each in stored(tmp_path).trials if each.state.name == "FAIL"]
    assert lost[0].params in asked  # the point that was under way is done again
    assert len(stored(tmp_path).trials) == 6 + len(lost)


def stored(folder):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return optuna.load_study(study_name="study", storage=JournalStorage(JournalFileBackend(str(folder / "journal"))))


def test_a_point_that_kills_its_process_twice_is_an_outcome(tmp_path):
    for number in (0, 1):
        killed = process(tmp_path, 1, hold=number)
        assert wait_until(lambda number=number: (tmp_path / f"began-{number}").exists(), 60)
        killed.kill()
        killed.wait()
    (outcome,) = run(lambda trial: 0.0, SPACE, journal(tmp_path, 1)).outcomes
    assert (outcome.state, outcome.reason) == ("crashed", "its process was gone twice")


def test_an_interrupted_trial_is_done_again(tmp_path):
    def interrupted(trial):
        if trial.number == 1:
            raise KeyboardInterrupt
        return trial.params["x"]

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, SPACE, journal(tmp_path, 3))
    result = run(lambda trial: trial.params["x"], SPACE, journal(tmp_path, 3))
    assert [each.state for each in result.outcomes] == ["complete"] * 3


def test_three_processes_share_one_study(tmp_path):
    running = [process(tmp_path, 9) for _ in range(3)]
    assert [int(each.communicate()[0]) for each in running] == [9, 9, 9]
    assert len(stored(tmp_path).trials) == 9
    assert len({each.params["x"] for each in stored(tmp_path).trials}) == 9


def test_a_process_takes_over_what_another_lost(tmp_path):
    dying, living = process(tmp_path, 4, hold=0), None
    try:
        assert wait_until(lambda: (tmp_path / "began-0").exists(), 60)
        living = process(tmp_path, 4)
        assert wait_until(lambda: (tmp_path / "began-3").exists(), 60)
        dying.kill()
        dying.wait()
        assert int(living.communicate(timeout=60)[0]) == 4
    finally:
        for each in filter(None, (dying, living)):
            each.kill()
            each.wait()
            each.stdout.close()


def test_what_trials_kept_outlives_the_process(tmp_path):
    run(lambda trial: trial.keep(b"graph") or 1.0, SPACE, journal(tmp_path, 1))
    result = run(lambda trial: 2.0, SPACE, journal(tmp_path, 2))
    assert result.kept[result.best.number].read_bytes() == b"graph"


def test_a_trial_of_another_host_is_lost_after_its_time(tmp_path, monkeypatch):
    from fleetml.learn.study import ledger, owner

    earlier = time.time() - 100
    with monkeypatch.context() as patch:
        there = {**owner.this(), "host": "elsewhere", "boot": "another", "since": earlier}
        patch.setattr(owner, "this", lambda: there)
        ledger.Ledger(SPACE, journal(tmp_path, 2, trial_seconds=20.0)).ask()
    assert len(run(lambda trial: 0.0, SPACE, journal(tmp_path, 2, trial_seconds=20.0)).outcomes) == 2


def test_a_journal_may_hold_several_studies_but_a_name_one_space(tmp_path):
    run(lambda trial: 0.0, SPACE, journal(tmp_path, 1))
    assert len(run(lambda trial: 0.0, SPACE, journal(tmp_path, 2, name="other")).outcomes) == 2
    with pytest.raises(InvalidParameter, match="another space"):
        run(lambda trial: 0.0, {"y": FloatDistribution(0.0, 1.0)}, journal(tmp_path, 2))
    with pytest.raises(InvalidParameter, match="has the directions minimize"):
        run(lambda trial: 0.0, SPACE, journal(tmp_path, 2, directions=("maximize",)))


def test_a_place_that_is_none_is_told(tmp_path):
    from fleetml.errors import ConfigurationError, Unavailable

    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file that can be written"):
        run(lambda trial: 0.0, SPACE, StudySettings(1, storage=str(tmp_path / "file" / "journal")))
    with pytest.raises(InvalidParameter, match="a path or postgresql://"):
        run(lambda trial: 0.0, SPACE, StudySettings(1, storage="mysql://host/it"))
    with pytest.raises(Unavailable, match="must answer"):
        run(lambda trial: 0.0, SPACE, StudySettings(1, storage="postgresql://127.0.0.1:1/it"))


def test_processes_that_join_at_the_same_time_propose_other_points(tmp_path):
    from fleetml.learn.study.ledger import Ledger

    joined = [Ledger(SPACE, journal(tmp_path, 4)) for _ in range(4)]
    assert len({each.ask().params["x"] for each in joined}) == 4


def test_a_process_lives_until_it_ends_whatever_the_clock_says(monkeypatch):
    from fleetml.learn.study import owner

    monkeypatch.setattr(owner.time, "time", lambda: 1e12)
    me = owner.this()
    assert owner.lives(me, 0.0)
    assert not owner.lives({**me, "started": me["started"] - 1}, 1e9), "its number is another's now"
    assert not owner.lives({**me, "boot": "earlier"}, 1e9), "it was booted since"
    for container in ({"namespace": "another"}, {"host": "elsewhere", "boot": "another"}):
        assert owner.lives({**me, **container}, 1.0)
        assert not owner.lives({**me, **container, "since": 0.0}, 1.0)


def test_a_process_that_ended_and_was_not_waited_for_is_dead():
    from fleetml.learn.study import owner

    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    theirs = {**owner.this(), "pid": ended.pid, "started": owner.identity.started(ended.pid)}
    try:
        assert owner.lives(theirs, 0.0)
        ended.kill()
        assert wait_until(lambda: not owner.lives(theirs, 0.0), 60)
    finally:
        ended.communicate()
