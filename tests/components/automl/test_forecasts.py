"""The ensemble of forecasters: when there is one, of which trials, and inside which limits."""

from __future__ import annotations

import dataclasses
import math
import time
import weakref
from collections.abc import Callable

import numpy as np
import onnx
import pytest

from components.automl import forecasts
from components.automl.forecasts import Joined, Limits
from fleetml.learn import graph as graphs
from fleetml.learn import search
from fleetml.learn.leaderboard import Result
from fleetml.learn.search import Candidate
from fleetml.learn.windows import Meta, Windows
from tests.small_graphs import META, forecaster

ANY = Limits(1e9, 1e9)
STEP = np.timedelta64(META.step_seconds, "s")


def windows(
    count: int = 60, vms: int = 10, bias: Callable[[int], float] = lambda turn: 0.0, meta: Meta = META
) -> Windows:
    """VMs that stay at 100, and then at 100 + `bias` of their origin's turn; origins are a horizon apart."""
    turn = np.arange(count) // vms
    lift = np.array([bias(int(each)) for each in turn], np.float32)[:, None]
    return Windows(
        vm_id=np.array([f"vm-{each % vms}" for each in range(count)]),
        origin=np.datetime64("2026-01-01", "us") + turn * meta.horizon * STEP,
        history=np.full((count, meta.context), 100, np.float32),
        covariates=np.zeros((count, len(meta.covariates)), np.float32),
        target=np.full((count, meta.horizon), 100, np.float32) + lift,
        scale=np.full(count, 10, np.float32),
        meta=meta,
    )


@pytest.fixture
def join(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Joined]:
    """Return a function that joins trials which say the last value and so much more, trial by trial; those of `large` have bytes."""

    def run(
        added: list[float], val: Windows, limits: Limits = ANY, deadline: float = math.inf, large: tuple[int, ...] = ()
    ) -> Joined:
        found = []
        for number, add in enumerate(added):
            graph = onnx.load_from_string(forecaster(META, add))
            one = search.judged(graph, val)
            found.append((number, dataclasses.replace(one, size_bytes=10**6 if number in large else one.size_bytes)))
        found.sort(key=lambda each: each[1].validation_mase)
        monkeypatch.setattr(search, "kept", lambda result: iter(found))
        return forecasts.join(Result(found[0][1]), val, 0, limits, deadline)

    return run


def test_trials_that_err_in_opposite_ways_answer_together(join):
    made = join([10.0, -9.0, 40.0], windows())
    assert set(made.weights) == {0, 1}
    assert made.candidate is not None
    assert made.candidate.validation_mase < 0.1
    assert made.later[1] < made.later[0] == pytest.approx(0.9)
    assert graphs.describe(made.candidate.graph).family == "ensemble"
    assert made.reason == ""


def test_what_is_better_on_the_windows_that_chose_it_alone_is_not_taken(join):
    # Four origins want the mean of two trials, the two later ones want the second alone
    made = join([10.0, -9.0], windows(bias=lambda turn: 0.0 if turn < 4 else -9.0))
    assert made.candidate is None
    assert made.later[1] > made.later[0]
    assert "on the later ones" in made.reason


def test_what_is_better_by_chance_is_not_taken(join):
    val = windows()
    level = np.where(np.arange(60) % 10 < 6, 0.0, -9.0)[:, None]  # of ten VMs four are for the second trial alone
    made = join([10.0, -9.0], dataclasses.replace(val, target=(val.target + level).astype(np.float32)))
    assert made.candidate is None
    assert made.later[1] < made.later[0]
    assert "2.5 standard errors" in made.reason


def test_one_model_is_no_ensemble(join):
    assert join([10.0], windows()).reason == "there is no second model"
    assert join([0.0, 30.0], windows()).candidate is None  # nothing is better than the first alone


def test_a_fleet_of_one_origin_has_no_later_windows_to_judge_by(join):
    assert "span too little" in join([10.0, -9.0], windows(10)).reason


def test_origins_whose_targets_all_overlap_have_no_later_windows_to_judge_by_and_it_says_so(join):
    val = windows(60)
    turn = np.arange(60) // 30 * STEP  # two origins, a step apart: the targets of the first reach over the second
    made = join([10.0, -9.0], dataclasses.replace(val, origin=np.datetime64("2026-01-01", "us") + turn))
    assert made.candidate is None
    assert "span too little" in made.reason


def test_of_a_long_search_no_more_graphs_are_held_than_may_have_a_say(monkeypatch):
    given: list[weakref.ref[Candidate]] = []
    most = 0

    def kept(result):
        nonlocal most
        for number in range(60):
            one = search.judged(onnx.load_from_string(forecaster(META, number)), windows(10))
            made = dataclasses.replace(one, family=f"family-{number % 3}", validation_mase=float(number))
            given.append(weakref.ref(made))
            del one
            yield number, made
            del made
            most = max(most, sum(each() is not None for each in given))

    monkeypatch.setattr(search, "kept", kept)
    assert list(forecasts._candidates(Result())) == list(range(forecasts.MOST_MEMBERS))
    assert most <= 3 + forecasts.MOST_MEMBERS + 1


def test_without_time_there_is_none(join):
    assert join([10.0, -9.0], windows(), deadline=time.monotonic() - 1).reason == forecasts.LATE


def test_over_the_limits_the_member_that_takes_the_most_is_left_out(join, monkeypatch):
    most = len(forecaster()) * 1.9

    def judged(graph: onnx.ModelProto, val: Windows, limit: float) -> Candidate:
        made = real(graph, val, limit)
        members = made.hyperparameters["members"]
        size = most + 1 if any(each["hyperparameters"]["add"] == -9.0 for each in members) else most - 1
        return dataclasses.replace(made, size_bytes=round(size))

    real = search.judged
    made = join([10.0, -9.0, -14.0], windows(), large=(1,))
    assert 1 in made.weights
    given = [10.0, -9.0, -14.0]
    monkeypatch.setattr(forecasts.search, "judged", lambda *a: real(*a) if len(a) < 3 else judged(*a))
    small = join(given, windows(), Limits(1e9, most), large=(1,))
    assert set(small.weights) == {0, 2}
    assert small.candidate is not None
    assert small.candidate.size_bytes <= most


def test_a_limit_that_no_ensemble_keeps_leaves_the_best_trial(join):
    made = join([10.0, -9.0], windows(), Limits(1e9, 10.0))
    assert made.candidate is None
    assert "inside the limits" in made.reason


def test_no_target_that_chooses_is_as_late_as_one_that_judges():
    val = windows(60)
    close = dataclasses.replace(val, origin=np.datetime64("2026-01-01", "us") + np.arange(60) * STEP)
    for some in (val, close):
        earlier, later = forecasts.in_time(some)
        last = some.origin[earlier].max() + META.horizon * STEP
        assert last <= some.origin[later].min()
        assert earlier.sum() > later.sum() > 0
