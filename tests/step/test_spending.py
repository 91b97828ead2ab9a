"""What a step costs, and whether the budget of its pipeline lets it begin."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fleetml import breakers
from fleetml.cost.budget import Budget, Limits
from fleetml.cost.settings import CostSettings
from fleetml.frozen import replace
from fleetml.images import Images
from fleetml.pipeline import Inputs
from fleetml.records import Run
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings
from fleetml.step import RunContext, StepOutcome, run
from tests.cost.apis_server import ELECTRICITY_MAPS, intensities, playing
from tests.step.conftest import GOOD, step


def test_what_a_step_cost_is_priced_where_it_ran(
    project: Settings, stage: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file says the price, a local server that plays Electricity Maps the intensity; then that is broken."""
    monkeypatch.setattr(breakers, "_known", {})
    monkeypatch.setenv("FLEETML_SECRET_ELECTRICITY_MAPS_TOKEN", "sesame-token")
    ours = tmp_path / "ours.csv"
    ours.write_text("region,price,currency\neu-west-1,0.5,USD\n")
    entry = f"{stage(GOOD)}:work"

    def ran(run_id: str, address: str) -> tuple[Mapping[str, Any], str]:
        cost = CostSettings(region="eu-west-1", file=ours, electricity_maps=address)
        settings = replace(project, cost=cost)
        context = RunContext(run_id, "p", settings, Images(settings.project), time.time(), caching=False)
        assert run(step(entry), Inputs({"n": 3}, {}), context, SubprocessRunner()).state == "succeeded"
        log = Run(settings.home, run_id).log("group/work")
        return Run(settings.home, run_id).attempts("group/work")[-1].cost or {}, log.read_text() if log else ""

    with playing() as apis:
        apis.answers[ELECTRICITY_MAPS] = (200, intensities("IE", 77))
        cost, _ = ran("one", apis.address)
        assert (cost["price_source"], cost["intensity_source"]) == ("ours.csv", "Electricity Maps")
        assert cost["co2_grams"] == pytest.approx(cost["kwh"] * 77)
        assert cost["money"] == pytest.approx(cost["cpu_seconds"] / 3600 * 0.048 + cost["kwh"] * 0.5)
        shutil.rmtree(project.home / "tariffs")
        apis.answers[ELECTRICITY_MAPS] = (200, b"<html>sesame-token")
        cost, log = ran("two", apis.address)
    assert cost["intensity_source"] == "table"
    assert (
        "fleetml: Electricity Maps is not used, the next source is: its answer is a JSON object, this one is HTML"
        in log
    )
    assert "sesame-token" not in log


def test_of_two_runs_at_once_the_second_is_refused_what_the_first_has_used(
    project: Settings, stage: Callable[[str], str]
) -> None:
    """The first goes on meanwhile: it has ended a step, and not yet itself."""
    entry, budget = f"{stage(GOOD)}:work", Budget("USD", month=Limits(kwh=1e-12, stop=True))

    def attempt(run_id: str) -> StepOutcome:
        Run(project.home, run_id).start({"pipeline": "p", "steps": ["group/work"]})
        images, now = Images(project.project), time.time()
        context = RunContext(
            run_id, "p", project, images, now, caching=False, resume="fleetml resume two", budget=budget
        )
        return run(step(entry), Inputs({"n": 3}, {}), context, SubprocessRunner())

    assert attempt("one").state == "succeeded"
    assert Run(project.home, "one").read()["state"] == "running"
    refused = attempt("two").failure
    assert refused is not None
    assert refused.type == "OverBudget"
    assert "the runs of this month have used" in refused.message
    assert "fleetml resume two --no-budget" in refused.message
