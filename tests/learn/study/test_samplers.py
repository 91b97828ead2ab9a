"""What every sampler must do: one suite for all of them."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from fleetml.errors import InvalidParameter
from fleetml.learn.study.loop import run
from fleetml.learn.study.settings import SAMPLERS, StudySettings
from fleetml.learn.study.space import Only

SPACE = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "share": FloatDistribution(0.0, 1.0),
    "depth": IntDistribution(1, 8),
    "width": IntDistribution(16, 256, log=True),
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "fixed": FloatDistribution(0.5, 0.5),
}
TREE = {
    "family": CategoricalDistribution(["line", "net"]),
    "line.slope": Only(FloatDistribution(0.0, 1.0), "family", "line"),
    "net.width": Only(IntDistribution(1, 9), "family", "net"),
}
TRIALS = 8


def bowl(trial):
    params = trial.params
    return (params["share"] - 0.3) ** 2 + (params["depth"] - 3) ** 2 / 50 + (params["kind"] != "b")


def points(sampler, objective=bowl, space=SPACE, **settings):
    result = run(objective, space, StudySettings(TRIALS, sampler=sampler, seed=3, **settings))
    return [dict(each.params) for each in result.outcomes]


@pytest.fixture(params=SAMPLERS)
def sampler(request):
    return request.param


def test_points_lie_in_the_space_and_a_seed_gives_them_again(sampler):
    found = points(sampler)
    assert len(found) == TRIALS
    for point in found:
        assert point.keys() == SPACE.keys()
        for name, kind in SPACE.items():
            assert kind._contains(kind.to_internal_repr(point[name]))
    assert len({tuple(point.items()) for point in found}) > TRIALS / 2
    assert points(sampler) == found


def test_what_is_infeasible_pruned_or_failed_does_not_stop_it(sampler):
    def objective(trial):
        trial.constrain("depth", trial.params["depth"] - 4)
        if trial.number % 5 == 3:
            raise ValueError("now and then")
        trial.report(0, 1.0)
        return bowl(trial)

    result = run(objective, SPACE, StudySettings(TRIALS, sampler=sampler, pruner="median"))
    assert len(result.outcomes) == TRIALS
    assert result.best.params["depth"] <= 4


def test_it_goes_on_where_it_was_left_and_proposes_something_new(sampler, tmp_path):
    def settings(trials):
        return StudySettings(trials, sampler=sampler, storage=str(tmp_path / "journal"))

    run(bowl, SPACE, settings(6))
    result = run(bowl, SPACE, settings(10))
    assert len(result.outcomes) == 10
    assert len({tuple(each.params.items()) for each in result.outcomes}) > 6


def test_four_workers_share_it(sampler):
    result = run(bowl, SPACE, StudySettings(8, sampler=sampler, workers=4))
    assert [each.state for each in result.outcomes] == ["complete"] * 8


def test_of_a_conditional_space_only_what_applies_is_asked_or_it_is_refused(sampler):
    def objective(trial):
        return trial.params.get("line.slope", 1.0)

    if sampler == "grid":
        with pytest.raises(InvalidParameter, match="grid needs a space"):
            points(sampler, objective, TREE)
        return
    for point in points(sampler, objective, TREE):
        assert point.keys() == {"family", "line.slope" if point["family"] == "line" else "net.width"}


@pytest.mark.parametrize("sampler", ["auto", "random", "qmc", "tpe", "gp", "nsga2", "evolution"])
def test_several_objectives(sampler):
    def objective(trial):
        return trial.params["share"], (1 - trial.params["share"]) + trial.params["depth"]

    settings = StudySettings(TRIALS, sampler=sampler, directions=("minimize", "maximize"))
    assert run(objective, SPACE, settings).front


def test_auto_asks_no_point_of_a_small_space_twice_until_all_are_known():
    space = {"a": IntDistribution(0, 3), "b": CategoricalDistribution(["x", "y"])}
    result = run(lambda trial: trial.params["a"], space, StudySettings(8))
    assert len({tuple(each.params.items()) for each in result.outcomes}) == 8
    assert len(run(lambda trial: trial.params["a"], space, StudySettings(10)).outcomes) == 10


def test_auto_finds_the_bottom_sooner_than_chance():
    best = {name: run(bowl, SPACE, StudySettings(30, sampler=name, seed=1)).best.value for name in ("auto", "random")}
    assert best["auto"] < 0.01 < best["random"]


def test_a_grid_ends_when_all_of_it_is_visited():
    space = {"a": IntDistribution(0, 3), "b": CategoricalDistribution(["x", "y"])}
    result = run(lambda trial: 0.0, space, StudySettings(100, sampler="grid"))
    assert len({tuple(each.params.items()) for each in result.outcomes}) == 8
    assert result.reason_to_stop == "8 trials are done"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"sampler": "bayes"}, "sampler of a study must be one of"),
        ({"pruner": "medain"}, "did you mean 'median'"),
        ({"trials": 0}, "trials of a study must be a whole number of at least 1"),
        ({"seconds": 0}, "seconds of a study must be positive"),
        ({"directions": ("up",)}, "directions of a study must be"),
        ({"directions": ("minimize", "minimize"), "sampler": "cmaes"}, "knows one objective"),
        ({"directions": ("minimize", "minimize"), "pruner": "median"}, "has no pruner"),
        ({"storage": "postgresql://me:word@host/it"}, "must hold no password"),
        ({"storage": "mysql://host/it"}, "a path or postgresql://"),
    ],
)
def test_settings_are_checked_when_made(settings, told):
    with pytest.raises(InvalidParameter, match=told) as error:
        StudySettings(**{"trials": 1, **settings})
    assert "word@" not in str(error.value)
