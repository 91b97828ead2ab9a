import itertools
import math
import tempfile

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from fleetml.errors import InvalidParameter
from fleetml.learn.study.loop import run
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.trial import Pruned

SPACE = {"x": FloatDistribution(0.0, 1.0), "kind": CategoricalDistribution(["a", "b"])}


def bowl(trial):
    return (trial.params["x"] - 0.3) ** 2 + (trial.params["kind"] == "b")


def test_a_study_finds_the_bottom_and_tells_every_trial():
    result = run(bowl, SPACE, StudySettings(trials=25, seed=1))
    assert len(result.outcomes) == 25
    assert result.best.value == min(each.value for each in result.outcomes) < 0.05
    assert result.front == (result.best,)
    assert "25 trials are done" in result.reason_to_stop


def test_starts_come_first_and_may_be_partial():
    result = run(bowl, SPACE, StudySettings(trials=3), starts=[{"x": 0.3, "kind": "a"}, {"x": 0.9}])
    assert result.outcomes[0].params == {"x": 0.3, "kind": "a"}
    assert result.outcomes[1].params["x"] == 0.9
    assert result.best.number == 0


def test_whatever_becomes_of_a_trial_the_study_goes_on():
    def objective(trial):
        match trial.number:
            case 0:
                raise ValueError("bad point")
            case 1:
                return math.nan
            case 2:
                raise Pruned("hopeless")
            case 3:
                raise MemoryError
        return 1.0

    result = run(objective, SPACE, StudySettings(trials=6))
    assert [each.state for each in result.outcomes] == ["failed", "nan", "pruned", "memory", "complete", "complete"]
    assert result.outcomes[0].reason == "ValueError: bad point"
    assert result.best.number == 4


def test_a_study_without_a_good_trial_has_no_best():
    def objective(trial):
        raise ValueError("never")

    result = run(objective, SPACE, StudySettings(trials=2))
    assert result.best is None
    assert result.nearest is None
    assert result.front == ()


def test_the_infeasible_is_not_the_best_but_may_be_the_nearest():
    def objective(trial):
        trial.constrain("size", 0.5 - trial.params["x"])
        return trial.params["x"]

    points = [{"x": 0.1}, {"x": 0.6}, {"x": 0.9}]
    result = run(objective, SPACE, StudySettings(trials=3), points)
    assert result.best.params["x"] == 0.6
    none = run(objective, SPACE, StudySettings(trials=2), [{"x": 0.1}, {"x": 0.2}])
    assert none.best is None
    assert none.nearest.params["x"] == 0.2


def test_two_objectives_give_the_front():
    def objective(trial):
        x = trial.params["x"]
        return x, (1 - x) + (trial.params["kind"] == "b")

    settings = StudySettings(trials=20, directions=("minimize", "minimize"), sampler="nsga2")
    front = run(objective, SPACE, settings).front
    assert len(front) > 1
    assert all(a.values[0] <= b.values[0] and a.values[1] >= b.values[1] for a, b in itertools.pairwise(front))


def test_what_a_trial_keeps_and_notes_is_there_afterwards():
    def objective(trial):
        trial.keep(b"made by %d" % trial.number)
        trial.note("epochs", 3)
        return 0.0

    result = run(objective, SPACE, StudySettings(trials=2))
    assert result.kept[1].read_bytes() == b"made by 1"
    assert result.outcomes[1].notes == {"epochs": 3}


def test_patience_ends_a_study_that_stands_still():
    result = run(lambda trial: 1.0, SPACE, StudySettings(trials=50, patience=4))
    assert len(result.outcomes) == 5
    assert "patience" in result.reason_to_stop


def test_time_ends_a_study_but_never_before_one_trial():
    result = run(bowl, SPACE, StudySettings(trials=50, seconds=1e-9))
    assert len(result.outcomes) == 1
    assert "budget" in result.reason_to_stop


def test_an_objective_must_give_a_value_a_direction():
    result = run(lambda trial: (1.0, 2.0), SPACE, StudySettings(trials=1))
    assert "must return 1 values" in result.outcomes[0].reason


@pytest.mark.parametrize(
    "sampler",
    ["random", "tpe", "qmc", "grid", "gp", "gp_ucb", "gp_pi", "cmaes", "nsga2", "auto"],
)
def test_every_sampler_runs(sampler):
    assert len(run(bowl, SPACE, StudySettings(trials=6, sampler=sampler)).outcomes) == 6


def test_a_constraint_or_a_report_that_is_no_number_fails_the_trial_and_the_study_goes_on():
    def objective(trial):
        if trial.number == 0:
            trial.constrain("latency_ms", math.nan)
        if trial.number in (1, 2):
            trial.report([-1, 0.5][trial.number - 1], 1.0)
        return 1.0

    for workers in (1, 2):
        result = run(objective, SPACE, StudySettings(5, pruner="median", workers=workers, sampler="random"))
        assert [each.state for each in result.outcomes] == ["failed"] * 3 + ["complete"] * 2
        assert [each.reason.split(" must be ")[0] for each in result.outcomes[:3]] == [
            "ValueError: constraint 'latency_ms'",
            *["ValueError: the step of a report"] * 2,
        ]


def test_an_interrupted_study_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def objective(trial):
        trial.keep(b"model")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(objective, SPACE, StudySettings(2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql://user:s3cret@host/database",
        "postgresql://user:s3/cret@host/database",
        "postgresql://user:1/2@host/database",
        "postgresql://host/database?password=s3cret",
        "postgresql://host/database?sslmode=require&sslpassword=s3cret",
    ],
)
def test_a_password_in_a_storage_is_refused_and_not_told(storage):
    with pytest.raises(InvalidParameter, match="storage of a study must") as refused:
        StudySettings(1, storage=storage)
    assert "s3" not in str(refused.value)


@pytest.mark.parametrize(
    "storage", ["/runs/10:30@night/journal", "postgresql://user@host:5432/database?application_name=a@b:c"]
)
def test_signs_of_a_password_where_there_is_none_are_allowed(storage):
    assert StudySettings(1, storage=storage).storage == storage
