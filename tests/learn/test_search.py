import dataclasses
import json
import math
import shutil
import time
from pathlib import Path

import pytest

from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn import graph as graphs
from fleetml.learn import search
from fleetml.learn.leaderboard import SearchFailed
from fleetml.learn.search import Candidate, TooSlow
from fleetml.learn.search_space import Range
from fleetml.learn.study.trial import Pruned, Trial

FAMILIES = {"good": {"x": Range(0.0, 1.0, 0.5)}, "bad": {"x": Range(0.0, 1.0, 0.5)}}


class Trainer:
    """Scores |x - 0.2| in family good; does what it is told in family bad."""

    families = FAMILIES
    limit = math.inf

    def __init__(self, bad=lambda report: None):
        self.bad, self.seen = bad, []

    def train(self, family, hyperparameters, deadline, report):
        self.seen.append((family, hyperparameters["x"]))
        if family == "bad":
            self.bad(report)
        return Candidate(None, family, hyperparameters, abs(hyperparameters["x"] - 0.2), 0.1, 10)


def fail(error):
    def bad(report):
        raise error

    return bad


def run(trainer, trials=12, seed=0, seconds=60.0, **more):
    return search.search(trainer, trainer.families, trials, seconds, seed, **more)


def test_defaults_come_first_then_the_search_improves_on_them():
    trainer = Trainer()
    result = run(trainer, trials=20)
    assert trainer.seen[:2] == [("good", 0.5), ("bad", 0.5)]
    assert len(result.outcomes) == 20
    assert result.incumbent().validation_mase < 0.1
    assert result.incumbent().validation_mase == min(o.validation_mase for o in result.outcomes)


def test_the_same_seed_gives_the_same_trials():
    trainers = [Trainer(), Trainer(), Trainer()]
    for trainer, seed in zip(trainers, (1, 1, 2), strict=True):
        run(trainer, seed=seed)
    assert trainers[0].seen == trainers[1].seen != trainers[2].seen


def test_time_ends_the_search_but_never_before_one_trial():
    assert len(run(Trainer(), seconds=1e-9).outcomes) == 1


def test_each_default_gets_its_share_of_the_time():
    deadlines = []

    class Watch(Trainer):
        def train(self, family, hyperparameters, deadline, report):
            deadlines.append(deadline)
            return super().train(family, hyperparameters, deadline, report)

    run(Watch(), trials=3, seconds=100.0)
    first, second, third = deadlines
    assert 40 < second - first < 60  # half of the time, then all that is left
    assert third == pytest.approx(second, abs=5)


def test_no_clock_ends_the_training_of_a_counted_search():
    class Watch(Trainer):
        limit = 1e-9

        def train(self, family, hyperparameters, deadline, report):
            assert (deadline, self.limit) == (math.inf, math.inf)
            return super().train(family, hyperparameters, deadline, report)

    result = search.search(Watch(), FAMILIES, 3, 100.0, 0, counted=True)
    assert [each.state for each in result.outcomes] == ["trained"] * 3


def test_a_graph_over_the_limit_of_bytes_is_recorded_and_does_not_win():
    class Large(Trainer):
        def train(self, family, hyperparameters, deadline, report):
            found = super().train(family, hyperparameters, deadline, report)
            return dataclasses.replace(found, size_bytes=99, validation_mase=0.0) if family == "bad" else found

    result = run(Large(), trials=2, max_bytes=50)
    assert [each.state for each in result.outcomes] == ["trained", "infeasible"]
    assert result.outcomes[1].reason == "99 bytes exceed the limit of 50"
    assert result.incumbent().family == "good"


def test_what_trials_kept_comes_best_first(windows):
    from fleetml.learn.tabular_trainer import TabularTrainer

    trainer = TabularTrainer(windows(300), windows(60, seed=1), 0)
    result = search.search(
        trainer, {name: trainer.families[name] for name in ("xgboost", "linear")}, 2, 60.0, 0, memory_mb=0
    )
    errors = [(number, each.family, each.validation_mase) for number, each in search.kept(result)]
    told = [(each.trial, each.family, each.validation_mase) for each in result.outcomes]
    assert errors == sorted(told, key=lambda each: each[2])
    assert all(graphs.describe(each.graph).family == each.family for _, each in search.kept(result))


def test_trials_without_a_better_one_end_the_search():
    class Alike(Trainer):
        def train(self, *args):
            return dataclasses.replace(super().train(*args), validation_mase=1.0)

    assert len(search.search(Alike(), FAMILIES, 20, 60.0, 0, patience=4).outcomes) == 5


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (ValueError("no such leaf"), "failed", "ValueError: no such leaf"),
        (TooSlow(7.5, 5.0), "infeasible", "latency 7.50 ms exceeds the limit of 5 ms"),
        (Pruned("worse"), "pruned", "worse"),
    ],
)
def test_a_trial_without_a_model_is_recorded_with_its_reason_and_the_search_goes_on(error, state, reason):
    result = run(Trainer(fail(error)))
    assert len(result.outcomes) == 12
    assert (result.outcomes[1].state, result.outcomes[1].reason) == (state, reason)
    assert result.incumbent().family == "good"


def test_a_hopeless_trial_is_pruned_by_what_it_reports():
    def report_badly(report):
        for epoch in range(10):
            report(epoch, 100.0)

    class Reporting(Trainer):
        def train(self, family, hyperparameters, deadline, report):
            if family == "good":
                for epoch in range(10):
                    report(epoch, 1.0)
            return super().train(family, hyperparameters, deadline, report)

    result = run(Reporting(report_badly), trials=30)
    pruned = [o for o in result.outcomes if o.state == "pruned"]
    assert pruned
    assert all(o.family == "bad" and "100.0000 after epoch" in o.reason for o in pruned)


def test_when_every_trial_fails_the_first_cause_is_named():
    class Broken(Trainer):
        def train(self, *args):
            raise MemoryError(f"cause {len(self.seen)}" if self.seen.append(0) else "cause 1")

    with pytest.raises(SearchFailed, match=r"3 trials and none; the first \(good .* was failed: MemoryError: cause 1"):
        run(Broken(), trials=3).incumbent()


class Wide:
    """The wider the better, and the slower: the limit lies at a width of one half."""

    families, limit = {"net": {"width": Range(0.0, 1.0, 0.2), "other": Range(0.0, 1.0, 0.5)}}, 5.0

    def train(self, family, hyperparameters, deadline, report):
        error, latency = 2.0 - hyperparameters["width"], 10.0 * hyperparameters["width"]
        if latency > self.limit:
            raise TooSlow(latency, self.limit, error)
        return Candidate(None, family, hyperparameters, error, latency, 10)


def test_the_search_learns_where_the_limit_of_latency_runs():
    result = run(Wide(), trials=24)
    slow = [each for each in result.outcomes if each.state == "infeasible"]
    assert slow
    assert len([each for each in slow if each.trial >= 12]) <= 6  # of twelve; what is asked lies at the limit
    assert result.incumbent().validation_mase < 1.52  # 1.5 is the best that is inside
    assert all(math.isnan(each.validation_mase) and each.latency_ms > 5.0 for each in slow)
    assert slow[0].reason.endswith("exceeds the limit of 5 ms")


def test_a_sampler_without_constraints_does_not_walk_beyond_the_limit():
    result = run(Wide(), trials=24, sampler="cmaes")
    late = [each for each in result.outcomes if each.trial >= 12]
    assert len([each for each in late if each.state == "infeasible"]) <= 8


def test_training_in_a_process_of_its_own_ends_before_the_trial_does(tmp_path: Path):
    class Told(Trainer):
        def train(self, family, hyperparameters, deadline, report):
            (tmp_path / "left").write_text(str(deadline - time.monotonic()))
            return super().train(family, hyperparameters, deadline, report)

    good = {"good": FAMILIES["good"]}
    search.search(Told(), good, 1, 60.0, 0, workers=2)
    assert float((tmp_path / "left").read_text()) < 60.0 - search.HANDOVER


def test_where_all_are_too_slow_the_nearest_to_the_limit_is_trained_as_a_best_effort():
    class Slow(Trainer):
        limit = 1.0

        def train(self, family, hyperparameters, deadline, report):
            latency = 2.0 + hyperparameters["x"]
            if latency > self.limit:
                raise TooSlow(latency, self.limit)
            return Candidate(None, family, hyperparameters, 1.0, latency, 10)

    result = run(Slow(), trials=6)
    assert {outcome.state for outcome in result.outcomes} == {"infeasible"}
    tried = [json.loads(outcome.hyperparameters)["x"] for outcome in result.outcomes]
    assert result.incumbent().hyperparameters["x"] == min(tried)


@pytest.mark.parametrize(
    ("budget", "name"), [((0, 10, 5.0), "trials"), ((1, 0, 5.0), "timeout_seconds"), ((1, 10, math.nan), "latency")]
)
def test_an_empty_budget_is_refused_by_name(budget, name):
    with pytest.raises(InvalidParameter, match=name):
        search.check_budget(*budget)


def test_windows_that_cannot_be_scored_are_left_out_and_none_left_is_an_error(windows):
    some = windows(20)
    some.scale[:5] = 0
    some.target[5:8] = math.nan
    assert len(search.require_scored(some, "val")) == 12
    some.scale[:] = math.nan
    with pytest.raises(InvalidData, match=r"'val'.*none of 20"):
        search.require_scored(some, "val")


def test_a_graph_is_judged_as_it_is_and_refused_when_too_slow(graph, windows):
    model = graphs.load(graph(add=0.0))
    candidate = search.judge(model, windows())
    assert candidate.family == "test"
    assert candidate.size_bytes == len(model.SerializeToString())
    assert 0 < candidate.validation_mase < 10
    with pytest.raises(TooSlow, match="exceeds the limit of 1e-06 ms"):
        search.judge(model, windows(), 1e-6)


def test_workers_and_a_storage_hand_over_the_graph_that_was_trained(graph, windows, tmp_path: Path):
    class Real(Trainer):
        def train(self, family, hyperparameters, deadline, report):
            return search.judge(graphs.load(graph(add=hyperparameters["x"])), windows())

    trainer, storage = Real(), str(tmp_path / "journal")
    first = search.search(trainer, FAMILIES, 3, 60.0, 0, workers=2, storage=storage)
    assert [each.state for each in first.outcomes] == ["trained"] * 3
    assert first.best.validation_mase == min(each.validation_mase for each in first.outcomes)
    again = search.search(Trainer(), FAMILIES, 3, 60.0, 0, storage=storage)
    assert again.best.graph == first.best.graph
    assert len(again.outcomes) == 3


def test_what_is_inside_the_limit_elsewhere_and_not_here_is_a_best_effort(graph, windows, tmp_path: Path):
    class Moved(Trainer):
        limit = 1.0

        def train(self, family, hyperparameters, deadline, report):
            if self.limit < math.inf and self.seen:
                raise TooSlow(2.0, self.limit)
            self.seen.append(family)
            return search.judge(graphs.load(graph(add=hyperparameters["x"])), windows())

    storage = str(tmp_path / "journal")
    first = search.search(Moved(), FAMILIES, 1, 60.0, 0, storage=storage)
    shutil.rmtree(f"{storage}.kept")
    here = Moved()
    here.seen.append("before")
    again = search.search(here, FAMILIES, 1, 60.0, 0, storage=storage)
    assert again.incumbent().graph == first.incumbent().graph
    assert here.limit == math.inf


def test_the_time_of_the_study_is_shared_until_each_had_its_turn_and_none_has_more_than_its_own(tmp_path):
    def left(number, own, workers=1):
        now = time.monotonic()
        trial = Trial(number, {}, 0, now + own, tmp_path / "kept", lambda step, value: "", study_end=now + 90.0)
        return search.turn(trial, turns=5, workers=workers) - now

    assert left(0, own=30.0) == pytest.approx(18.0, abs=1)  # a fifth of what is left of the study, not of its own time
    assert [left(4, own=30.0), left(9, own=30.0)] == pytest.approx([30.0, 30.0], abs=1)
    assert left(9, own=30.0, workers=2) == pytest.approx(30.0 - search.HANDOVER, abs=1)
    assert left(9, own=-5.0) == pytest.approx(1.0, abs=0.5)
