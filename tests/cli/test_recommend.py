"""``fleetml recommend``: when and where a run should go, which scenario is best, whether two differ."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetml import atomic
from fleetml.cost.series import HOUR, told
from fleetml.settings import Settings

Command = Callable[..., int]


@pytest.fixture
def low(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the hour, some three ahead, in which energy is cheap in "here"; "there" it always costs a little less than usual."""
    first = int(time.time() // HOUR) * HOUR
    cheap = first + 4 * HOUR
    rows = [
        f"here,{datetime.fromtimestamp(hour, UTC).isoformat()},{0.1 if hour == cheap else 0.3},EUR,{400 if hour < first else ''}"
        for hour in range(first - 48 * HOUR, first + 24 * HOUR, HOUR)
    ]
    place = tmp_path / "prices.csv"
    place.write_text("\n".join(["region,hour,price,currency,intensity", *rows, "there,,0.28,EUR,100", "us,,0.01,USD,"]))
    for name, value in (
        ("FILE", str(place)),
        ("CURRENCY", "EUR"),
        ("PRICE_PER_CORE_HOUR", "0"),
        ("PRICE_PER_GPU_HOUR", "0"),
    ):
        monkeypatch.setenv(f"FLEETML_COST_{name}", value)
    return cheap


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_run_waits_for_the_cheap_hour(fleetml: Command, low: int, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--hours", "1", "--kwh", "2", "--within", "12", "--regions", "here,there")
    assert fleetml("recommend", "when", *words) == 0
    _, best, other, *sources = lines(capsys)
    assert best.split()[:3] == ["here", told(low), told(low + HOUR)]
    assert best.endswith("0.2 EUR   0.6 EUR   0.4 EUR (67%)")
    assert other.split()[0] == "there"
    assert other.endswith("0.56 EUR  0.56 EUR  0 EUR (0%)")
    assert sources[0].startswith("price of here: prices.csv, by hour up to")
    assert sources[1] == "price of there: prices.csv, one value for all hours, so there is nothing to wait for"


def test_the_greenest_is_another_question(fleetml: Command, low: int, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--hours", "1", "--kwh", "2", "--within", "12", "--prefer", "greenest", "--regions", "here,there")
    assert fleetml("recommend", "when", *words) == 0
    _, best, other, source, _ = lines(capsys)
    assert (best.split()[0], best.split()[3:5]) == ("there", ["200", "g"])
    assert other.split()[3] == "800"
    assert source.endswith("all of them past, so what is ahead is a forecast")


def test_what_a_pipeline_took_is_what_it_will_take(
    fleetml: Command, low: int, project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {"pipeline": "p", "state": "succeeded", "started": 100.0, "finished": 1900.0, "cost": {"kwh": 4.0}}
    atomic.write_json(project.home / "runs" / "r" / "run.json", {"run_id": "r", **document})
    assert fleetml("recommend", "when", "p", "--within", "12", "--regions", "here") == 0
    best = lines(capsys)[1]
    assert best.split()[1:3] == [told(low), told(low + 1800)]
    assert "0.4 EUR" in best


def test_who_waits_is_told_where_as_the_best_hour_begins(
    fleetml: Command, low: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everywhere else the energy costs the same at any hour, so there is nothing to wait for."""
    words = ("--hours", "1", "--kwh", "1", "--within", "12", "--regions", "there", "--wait")
    assert fleetml("recommend", "when", *words) == 0
    out, err = capsys.readouterr()
    assert out == "there\n"
    assert err.endswith("is best, 0.28 EUR expected\n")


def test_offers_name_instances_with_their_prices(
    fleetml: Command, low: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offers = tmp_path / "offers.csv"
    offers.write_text("region,instance,hours,kwh,per_hour\nthere,large,8,1,0.1\nthere,4xlarge,1,1,1.2\n")
    assert fleetml("recommend", "when", "--offers", offers, "--within", "12") == 0
    assert lines(capsys)[1].split()[:2] == ["there", "large"]
    assert fleetml("recommend", "when", "--offers", offers, "--within", "7") == 0
    assert lines(capsys)[1].split()[:2] == ["there", "4xlarge"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--hours", "1"), "is told by a PIPELINE, by --hours and --kwh, or by --offers, got hours"),
        (("p", "--kwh", "1"), "got pipeline, kwh"),
        (("p",), "'p' has none"),
        (("--offers", "x.csv", "--regions", "here"), "--offers says where and how long, got regions beside it"),
        (("--offers", "x.csv"), "offers are CSV of region,instance"),
        (("--hours", "30", "--kwh", "1", "--regions", "here"), "the quickest of 1 offers may take 30.0 h"),
        (("--hours", "1", "--kwh", "1", "--regions", "us"), "needs the price of us in EUR, no source tells it"),
        (
            ("--hours", "1", "--kwh", "1", "--regions", "hree"),
            "a region must be known, got 'hree'; the nearest is here",
        ),
    ],
)
def test_what_cannot_be_planned_is_told(
    fleetml: Command, low: int, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert fleetml("recommend", "when", "--within", "12", *words) in (1, 2)
    assert said in capsys.readouterr().err


@pytest.fixture
def results(tmp_path: Path) -> Path:
    def scenario(name: str, power: float, **known: Any) -> dict[str, Any]:
        samples = [power + 0.1 * (number % 3) for number in range(30)]
        usual = {"bitrate": "5M", "resolution": "1280x720", "fps": 30, "power_watts": samples, "step_seconds": 5}
        return {"name": name, "duration": 145, **usual, **known}

    found = [scenario("hot", 20), scenario("cool", 10), scenario("wrong", 10, power_watts=[-1.0])]
    place = tmp_path / "test_results_1.json"
    place.write_text(json.dumps({"scenarios": found}))
    return place


def test_scenarios_are_ranked_and_what_is_wrong_is_told(
    fleetml: Command, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleetml("recommend", "best", results) == 0
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["1280x720@30", "by", "throughput_per_watt"],
        ["RANK", "SCENARIO", "SCORE"],
        ["1", "cool", "0.495", "Mbps/W"],
        ["2", "hot", "0.2488", "Mbps/W"],
    ]
    assert "('wrong'): power_watts holds sample 0 (-1.0)" in err
    assert fleetml("recommend", "best", results, "--top", "1") == 0
    assert len(lines(capsys)) == 3
    assert fleetml("recommend", "best", results, "--rule", "pixels_per_watt") == 2
    assert "did you mean 'pixels_per_joule'" in capsys.readouterr().err


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_of_one_name_the_latest_measured_counts_however_files_are_given(
    fleetml: Command, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], order: tuple[str, str]
) -> None:
    hot, cool, _ = json.loads(results.read_text())["scenarios"]
    for name, day, watts in (("old", "2026-02-01", 5.0), ("new", "2026-02-02", 10.0)):
        document = {"test_date": day, "scenarios": [{**cool, "power_watts": [watts] * 30}, hot]}
        (tmp_path / name).write_text(json.dumps(document))
    assert fleetml("recommend", "best", *(tmp_path / name for name in order)) == 0
    assert lines(capsys)[2].split() == ["1", "cool", "0.5", "Mbps/W"]


def test_two_scenarios_are_compared(fleetml: Command, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleetml("recommend", "compare", results, "--scenarios", "cool", "hot") == 0
    first, second = lines(capsys)
    assert first == "1280x720@30 by throughput_per_watt: cool 0.495, hot 0.2488 Mbps/W"
    assert second.startswith("difference 0.246 Mbps/W, 95 % interval 0.24")
    assert second.endswith(": they differ")


def test_nothing_to_rank_is_said(fleetml: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.json").write_text('{"scenarios": []}')
    assert fleetml("recommend", "best", tmp_path / "none.json") == 0
    assert capsys.readouterr() == ("", "no scenario has power, an output ladder and what its score needs\n")
