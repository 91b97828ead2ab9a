import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from fleetml.learn.study import reinforce
from fleetml.learn.study.reinforce import ReinforceSampler

SPACE = {
    "operation": CategoricalDistribution(["none", "skip", "conv", "pool"]),
    "depth": IntDistribution(1, 8),
    "learning_rate": FloatDistribution(1e-4, 1.0, log=True),
}


def step(study, tell, space=SPACE):
    trial = study.ask(space)
    study.tell(trial, tell(trial.params))
    return trial.params


def error(params):
    return (params["operation"] != "conv") + abs(params["depth"] - 6) / 8


def study_of(seed=0):
    return optuna.create_study(sampler=ReinforceSampler(seed))


def test_what_was_rewarded_becomes_likelier():
    late = []
    for seed in range(4):
        study = study_of(seed)
        grown = [step(study, error) for _ in range(80)]
        late += [params["operation"] for params in grown[50:]]
    assert late.count("conv") > 0.6 * len(late)


def test_rewards_that_say_nothing_leave_the_policy_wide():
    study = study_of()
    grown = [step(study, lambda params: 1.0) for _ in range(120)]
    assert all(sum(params["operation"] == each for params in grown[60:]) >= 2 for each in SPACE["operation"].choices)


def test_more_is_better_where_the_study_says_so():
    study = optuna.create_study(sampler=ReinforceSampler(0), direction="maximize")
    grown = [step(study, lambda params: -error(params)) for _ in range(80)]
    late = [params["operation"] for params in grown[50:]]
    assert late.count("conv") > 0.5 * len(late)


def test_a_study_that_is_resumed_goes_on_as_it_would_have():
    whole = study_of()
    uninterrupted = [step(whole, error) for _ in range(30)]
    first = study_of()
    begun = [step(first, error) for _ in range(17)]
    again = optuna.load_study(study_name=first.study_name, storage=first._storage, sampler=ReinforceSampler(0))
    assert begun + [step(again, error) for _ in range(13)] == uninterrupted
    other = study_of(seed=1)
    assert [step(other, error) for _ in range(30)] != uninterrupted


def test_an_infeasible_choice_is_avoided():
    study = study_of()
    for _ in range(80):
        trial = study.ask(SPACE)
        trial.set_constraint("latency_ms", 1.0 if trial.params["operation"] == "conv" else -1.0)
        study.tell(trial, error(trial.params))
    late = [trial.params["operation"] for trial in study.trials[50:]]
    assert late.count("conv") < 0.25 * len(late)


@pytest.mark.parametrize(
    "kind", [IntDistribution(3, 200, log=True), IntDistribution(0, 100, step=5), FloatDistribution(-1, 1)]
)
def test_bins_cover_a_range_and_every_value_has_one(kind):
    study = study_of()
    drawn = [step(study, lambda params: params["x"], {"x": kind})["x"] for _ in range(150)]
    assert min(drawn) < kind.low + 0.2 * (kind.high - kind.low)
    assert max(drawn) > kind.low + 0.5 * (kind.high - kind.low)
    assert sum(drawn[100:]) / 50 < sum(drawn[:30]) / 30, "lower values were rewarded"


@pytest.mark.parametrize("chosen", range(8))
def test_a_choice_of_a_short_logarithmic_range_is_the_value_that_it_is_credited_for(chosen):
    kind, study = IntDistribution(1, 8, log=True), study_of()
    taught = study.sampler._policy(study)
    taught.logits["x"] = np.where(np.arange(8) == chosen, 50.0, 0.0)
    drawn = [study.ask({"x": kind}).params["x"] for _ in range(40)]
    assert drawn.count(chosen + 1) > 30
    assert reinforce._choice(kind, chosen + 1) == chosen
