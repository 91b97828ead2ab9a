"""What the runs of a pipeline cost in a month, those under way too."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from fleetml.cost.budget import Budget, Limits, month_of
from fleetml.records import Attempt, Run
from fleetml.records.spent import spent

MONTH = Budget("USD", month=Limits(money=100))


def begun(home: Path, run_id: str, *moneys: float, **document: Any) -> Run:
    """A run under way, of one step with an attempt that is over for each of `moneys`."""
    run = Run(home, run_id)
    run.start({"pipeline": "p", "steps": ["a", "b"], **document})
    for number, money in enumerate(moneys, 1):
        run.write(Attempt("a", number, "succeeded", cost={"money": money, "currency": "USD", "kwh": money / 10}))
    run.write(Attempt("b", 1, "running"))
    return run


def test_runs_under_way_count_with_the_steps_that_are_over(tmp_path: Path) -> None:
    begun(tmp_path, "beside", 3, 4)
    run = begun(tmp_path, "this", 1)
    own, month = spent(run, MONTH)
    assert (own.money, own.kwh) == (1, 0.1)
    assert (month.money, month.kwh) == (8, pytest.approx(0.8))


def test_runs_that_are_over_count_with_their_sum_and_resumed_ones_with_what_came_since(tmp_path: Path) -> None:
    begun(tmp_path, "over", 3).finish("succeeded")
    again = begun(tmp_path, "again", 4)
    again.finish("failed")
    again.start({"pipeline": "p"})
    again.write(Attempt("a", 2, "succeeded", cost={"money": 5, "currency": "USD"}))
    begun(tmp_path, "died", 6, pid=2**22 + 1)
    assert spent(begun(tmp_path, "this", 1), MONTH)[1].money == 3 + 4 + 5 + 6 + 1


def test_what_nobody_knows_of_a_part_does_not_lift_the_limit_of_the_rest(tmp_path: Path) -> None:
    """A price was not to be had, or the currency of runs was another for a while."""
    unknown = {"money": None, "currency": "USD", "kwh": 1.0, "co2_grams": None}
    for run_id in ("over", "beside"):
        begun(tmp_path, run_id, 3).write(Attempt("b", 2, "succeeded", cost=unknown))
    Run(tmp_path, "over").finish("succeeded")
    begun(tmp_path, "euros").write(Attempt("a", 1, "succeeded", cost={**unknown, "money": 50, "currency": "EUR"}))
    run = begun(tmp_path, "this", 1)
    run.write(Attempt("b", 2, "succeeded", cost=unknown))
    own, month = spent(run, MONTH)
    assert (own.money, month.money, month.kwh) == (1, 3 + 3 + 1, pytest.approx(4.7))
    assert spent(begun(tmp_path, "dear", pipeline="q"), MONTH)[1].money == 0


def test_of_what_is_known_of_no_part_there_is_no_sum(tmp_path: Path) -> None:
    run = begun(tmp_path, "this")
    run.write(Attempt("a", 1, "succeeded", cost={"money": None, "currency": "USD", "kwh": 1.0, "co2_grams": None}))
    own, month = spent(run, MONTH)
    assert (own.money, own.co2_grams, month.money, month.co2_grams) == (None, None, None, None)


def test_a_run_that_goes_on_counts_for_the_month_in_which_it_does(tmp_path: Path) -> None:
    now = time.time()
    begun(tmp_path, "again", 4, started=month_of(now) - 1, begun=now)
    assert spent(begun(tmp_path, "this", 1), MONTH)[1].money == 5


def test_other_pipelines_and_other_months_do_not_count(tmp_path: Path) -> None:
    begun(tmp_path, "other", 3, pipeline="q")
    begun(tmp_path, "earlier", 4, started=month_of(time.time()) - 1)
    assert spent(begun(tmp_path, "this", 1), MONTH)[1].money == 1


def test_who_has_no_budget_of_a_month_does_not_look_at_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path, "beside", 3)
    run = begun(tmp_path, "this", 1)
    monkeypatch.setattr("fleetml.records.spent.runs", lambda home: pytest.fail("looked"))
    assert spent(run, Budget("USD", Limits(money=5)))[0].money == 1
