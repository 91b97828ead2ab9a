"""``fleetml costs``: of runs, of pipelines, of the steps of a run; as a table and as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from fleetml.cost.estimate import Cost
from fleetml.frozen import asdict
from fleetml.records import Attempt, Run
from fleetml.settings import Settings

Fleetml = Callable[..., int]
DOLLARS = asdict(
    Cost(10.0, 5.0, 2 * 10**9, 0.0, 0.004, 0.0, 0.25, 1.5, "USD", "us-west-2", "rapl", "EIA", "Electricity Maps")
)
EUROS = asdict(Cost(1.0, 1.0, 10**9, 3.0, 0.001, 0.0005, 0.5, None, "EUR", "home", "model+nvml", "ours.csv", ""))


@pytest.fixture
def three(project: Settings) -> Settings:
    """Two runs of one pipeline, the older one a month ago in euros, and one of another that goes on."""
    for run_id, pipeline, cost, ago in (
        ("new", "p", DOLLARS, 60),
        ("old", "p", EUROS, 31 * 86400),
        ("on", "q", DOLLARS, 10),
    ):
        run = Run(project.home, run_id)
        run.start({"pipeline": pipeline, "engine": "local", "steps": ["a", "b"]})
        now = time.time()
        run.write(Attempt("a", 1, "failed", now, now + 1, cost=cost))
        run.write(Attempt("a", 2, "succeeded", now, now + 1, cost=cost))
        if run_id != "on":
            run.finish("succeeded")
        run.update(started=now - ago)
    return project


@pytest.fixture
def told(fleetml: Fleetml, three: Settings, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[list[str], str]]:
    def tell(*words: str) -> tuple[list[str], str]:
        capsys.readouterr()
        assert fleetml("costs", *words) == 0
        found = capsys.readouterr()
        return found.out.splitlines(), found.err

    return tell


def test_every_run_has_a_line_and_currencies_are_not_added(told: Callable[..., Any]) -> None:
    lines, said = told()
    assert [line.split()[0] for line in lines] == ["RUN", "on", "new", "old", "total"]
    assert lines[2].split() == ["new", "20.0", "2", "GB", "8.000", "3.000", "rapl", "0.500000", "USD"]
    assert "1.000000 EUR" in lines[3]
    assert " - " in lines[3], "an unknown intensity is no nought"
    assert lines[4].endswith("1.000000 EUR + 1.000000 USD")
    assert "price by EIA, ours.csv, carbon intensity by Electricity Maps" in said


def test_runs_are_chosen_and_summed_by_pipeline(told: Callable[..., Any]) -> None:
    assert [line.split()[0] for line in told("--pipeline", "p")[0][1:]] == ["new", "old", "total"]
    assert [line.split()[0] for line in told("--since", "30d")[0][1:]] == ["on", "new", "total"]
    lines, _ = told("--by", "pipeline")
    assert [line.split()[0] for line in lines] == ["PIPELINE", "q", "p", "total"]
    lines, said = told("--pipeline", "none")
    assert [line.split()[0] for line in lines[1:]] == ["total"]
    assert "no run is among them" in said


def test_a_pipeline_whose_runs_were_in_two_currencies_has_a_sum_of_each(told: Callable[..., Any]) -> None:
    lines, _ = told("--by", "pipeline", "--pipeline", "p")
    assert [line.split("  ")[-1].strip() for line in lines[1:]] == ["1.000000 EUR + 0.500000 USD"] * 2
    assert json.loads(told("--by", "pipeline", "--pipeline", "p", "--json")[0][0])["moneys"] == {"EUR": 1.0, "USD": 0.5}


def test_a_run_that_was_resumed_costs_what_came_since_too(told: Callable[..., Any], three: Settings) -> None:
    run = Run(three.home, "new")
    run.start({"pipeline": "p", "engine": "local", "steps": ["a", "b"]})
    run.write(Attempt("b", 1, "succeeded", time.time(), time.time() + 1, cost=DOLLARS))
    assert "0.750000 USD" in next(line for line in told()[0] if line.startswith("new"))


def test_a_runs_steps_have_the_cost_of_all_their_attempts(told: Callable[..., Any]) -> None:
    lines, said = told("new")
    assert [line.split()[0] for line in lines] == ["STEP", "a", "b", "total"]
    assert "0.500000 USD" in lines[1]
    assert lines[2].split() == ["b", "0.0", "0", "B", "0.000", "0.000", "0"]
    assert said == "region us-west-2; price by EIA, carbon intensity by Electricity Maps\n"


def test_json_has_all_that_is_known(told: Callable[..., Any]) -> None:
    ((line,), _) = told("--json")
    found = json.loads(line)
    assert found["moneys"] == {"EUR": 1.0, "USD": 1.0}
    assert found["total"]["money"] is None
    assert found["rows"]["old"]["co2_grams"] is None
    assert (found["rows"]["new"]["source"], found["rows"]["old"]["gpu_seconds"]) == ("rapl", 6.0)


def test_what_excludes_each_other_is_refused(
    fleetml: Fleetml, three: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleetml("costs", "new", "--since", "3d") == 2
    assert "--pipeline, --since and --by choose among runs, a run was named as well" in capsys.readouterr().err
    assert fleetml("costs", "never") == 2
