import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from fleetml.learn.study.evolution import EvolutionSampler

SPACE = {
    "activation": CategoricalDistribution(["relu", "tanh", "gelu"]),
    "width": IntDistribution(8, 256, log=True),
    "dropout": FloatDistribution(0.0, 0.5),
    "batch": IntDistribution(32, 128, step=32),
}


def study_of(seed=0, **settings):
    return optuna.create_study(sampler=EvolutionSampler(seed, **settings))


def step(study, tell, space=SPACE):
    trial = study.ask(space)
    study.tell(trial, tell(trial.params))
    return trial.params


def error(params):
    return abs(params["width"] - 100) / 100 + params["dropout"] + (params["activation"] != "gelu")


def test_each_child_differs_from_a_member_of_the_youngest_in_one_parameter():
    study = study_of(population=5, tournament=2)
    grown = [step(study, error) for _ in range(30)]
    for number in range(5, 30):
        young = grown[number - 5 : number]
        apart = [sum(child[name] != value for name, value in grown[number].items()) for child in young]
        assert 1 in apart, f"trial {number} is no child"
        assert grown[number] not in grown[:number], "what was tried is not tried again"


def test_it_finds_what_random_draws_do_not():
    """Same number of trials, five seeds."""
    found = drawn = 0.0
    for seed in range(5):
        for sampler in (EvolutionSampler(seed), optuna.samplers.RandomSampler(seed)):
            study = optuna.create_study(sampler=sampler)
            for _ in range(60):
                step(study, error)
            if isinstance(sampler, EvolutionSampler):
                found += study.best_value
            else:
                drawn += study.best_value
    assert found < 0.6 * drawn


def test_a_study_that_is_resumed_goes_on_as_it_would_have():
    whole = study_of()
    uninterrupted = [step(whole, error) for _ in range(25)]
    first = study_of()
    storage = first._storage
    begun = [step(first, error) for _ in range(14)]
    again = optuna.load_study(study_name=first.study_name, storage=storage, sampler=EvolutionSampler(0))
    assert begun + [step(again, error) for _ in range(11)] == uninterrupted
    other = study_of(seed=1)
    assert [step(other, error) for _ in range(25)] != uninterrupted


def test_the_old_die_however_good_they_were():
    study = study_of(population=4, tournament=4)
    best = [step(study, lambda params: 0.0)]
    best += [step(study, lambda params: 1.0) for _ in range(4)]
    children = [step(study, lambda params: 1.0) for _ in range(6)]
    for child in children:
        assert sum(child[name] != value for name, value in best[0].items()) > 1


def test_infeasible_and_pruned_trials_have_no_children_while_there_are_others():
    study = study_of(population=4, tournament=4)
    good = step(study, lambda params: 5.0)
    pruned = study.ask(SPACE)
    pruned.report(0.1, 0)
    study.tell(pruned, state=optuna.trial.TrialState.PRUNED)
    for violation in (3.0, 1.0):
        slow = study.ask(SPACE)
        slow.set_constraint("latency_ms", violation)
        study.tell(slow, 0.0)
    child = step(study, error)
    assert sum(child[name] != value for name, value in good.items()) == 1


@pytest.mark.parametrize("directions", [["minimize", "minimize"], ["minimize", "maximize"]])
def test_with_two_objectives_it_breeds_from_the_front(directions):
    sign = 1 if directions[1] == "minimize" else -1
    study = optuna.create_study(sampler=EvolutionSampler(0, population=6), directions=directions)
    space = {"x": FloatDistribution(0.0, 1.0), "waste": FloatDistribution(0.0, 1.0)}
    for _ in range(60):
        trial = study.ask(space)
        x, waste = trial.params["x"], trial.params["waste"]
        study.tell(trial, (x + waste, sign * (1 - x + waste)))
    late = [trial.params["waste"] for trial in study.trials[40:]]
    assert sum(late) / len(late) < 0.3


def test_a_conditional_space_keeps_what_still_applies():
    study = study_of(population=4)
    for _ in range(40):
        trial = study.ask()
        family = trial.suggest_categorical("family", ["mlp", "gru"])
        name = f"{family}.width"
        study.tell(trial, trial.suggest_int(name, 1, 64) + (family == "mlp"))
    for trial in study.trials:
        assert set(trial.params) == {"family", f"{trial.params['family']}.width"}
    assert study.best_value <= 4


def test_a_space_of_single_values_and_of_one_choice_goes_on():
    study = study_of(population=2)
    space = {"only": CategoricalDistribution(["a"]), "fixed": IntDistribution(3, 3)}
    assert [step(study, lambda params: 1.0, space) for _ in range(6)] == [{"only": "a", "fixed": 3}] * 6
