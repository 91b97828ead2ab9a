"""What the pipeline takes in: results files, whole ones only."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from components.cost.measurements import latest, load, measurements
from components.cost.synthetic import documents, watts
from fleetml.component import Artifact
from fleetml.cost.results_files import parse
from fleetml.cost.scenarios import Results, Scenario
from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter
from fleetml.pipeline import load as load_pipeline
from fleetml.pipeline.model import Constant
from tests.cost.exporters.test_prometheus import Fake, fake  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[3]
REAL = Path(__file__).parents[4] / "shared/data/transcode_power"


def taken(tmp_path: Path, source: str, prometheus: str = "") -> tuple[list[Results], Artifact]:
    results, metrics = Artifact("results", str(tmp_path / "results")), Artifact("metrics", str(tmp_path / "metrics"))
    measurements(source, prometheus, results, metrics)
    return load(results.path), metrics


def write(folder: Path, name: str, *scenarios: Any, **document: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"scenarios": scenarios, **document}))


def scenario(name: str, **known: Any) -> dict[str, Any]:
    usual = {"bitrate": "2500k", "resolution": "1280x720", "fps": 30, "power_watts": [9.0] * 5, "step_seconds": 5}
    return {"name": name, "duration": 20, **usual, **known}


def test_without_a_source_there_are_synthetic_results_of_the_power_they_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found, metrics = taken(tmp_path, "")
    assert "the results are synthetic, invented and not measured; put your test_results_*.json into" in caplog.text
    assert [len(each.scenarios) for each in found] == [15] * 3
    assert metrics.metadata == {"scenarios": 45, "with_power": 45, "remarks": 0, "files": 3}
    (four,) = (each for each in latest(found) if each.name == "4 Streams @ 2500k")
    assert four.mean_watts == pytest.approx(watts(4, 2.5), rel=0.08)
    assert documents("synthetic://?files=1") == documents("synthetic://?files=1&seed=7")
    assert documents("synthetic://?seed=8") != documents("synthetic://")


def test_synthetic_files_are_measured_one_day_after_another() -> None:
    found = [parse(json.dumps(each), name) for name, each in documents("synthetic://?files=40").items()]
    assert [each.when for each in found] == [each.scenarios[0].start_time for each in found]
    assert len({each.when for each in found}) == 40


def test_what_is_written_reads_as_what_was_read(tmp_path: Path) -> None:
    for name, document in documents("").items():
        write(tmp_path / "in", name, *document["scenarios"], test_date=document["test_date"])
    found, _ = taken(tmp_path, str(tmp_path / "in"))
    assert found == [parse(json.dumps(each), name) for name, each in documents("").items()]


def test_bad_files_and_scenarios_are_told_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = scenario("good", start_time=100, end_time=120)
    mixed = (scenario("a", start_time=200, end_time=230), scenario("b", start_time=210, end_time=240))
    dead = scenario("dead", power_watts=[5.0, 0.0, 5.0, 5.0, 5.0])
    write(tmp_path / "in", "test_results_1.json", good, *mixed, dead, scenario("odd", resolution="N/A"))
    (tmp_path / "in" / "test_results_2.json").write_text('{"scenarios": [{"name": "half')
    (tmp_path / "in" / "test_results_3.json").mkdir()
    with caplog.at_level(logging.INFO):
        (found,), metrics = taken(tmp_path, str(tmp_path / "in"))
    assert [each.name for each in found.scenarios] == ["good", "dead", "odd"]
    assert [each.mean_watts for each in found.scenarios] == [9.0, None, 9.0]
    assert found.scenarios[2].ladder is None
    assert (metrics.metadata["with_power"], metrics.metadata["files"]) == (2, 1)
    for said in (
        "'a' and 'b' at the same time",
        "power_watts holds sample 1 (0.0)",
        "test_results_2.json, which is none",
    ):
        assert said in caplog.text
    assert "test_results_3.json cannot be read" in caplog.text


def test_power_comes_from_the_analysis_where_the_file_has_no_samples(tmp_path: Path) -> None:
    bare = {"power_watts": None, "step_seconds": None}
    wrong = scenario("wrong", power_watts=[5.0, -1.0])
    write(
        tmp_path / "in",
        "test_results_1.json",
        scenario("bare", **bare),
        scenario("own"),
        scenario("odd", **bare),
        wrong,
    )
    analysis = "name,mean_power_w,total_energy_wh\nbare,12.5,0.4\nown,99,9\nodd,1e300,nan\nwrong,7,1\n"
    (tmp_path / "in" / "test_results_1_analysis.csv").write_text(analysis)
    ((bare_one, own, odd, refused),) = ([*each.scenarios] for each in taken(tmp_path, str(tmp_path / "in"))[0])
    assert (bare_one.mean_watts, bare_one.total_energy_wh) == (12.5, 0.4)
    assert (own.mean_watts, own.mean_power_w, odd.mean_watts) == (9.0, None, None)
    assert odd.refused == frozenset(), "what no scenario can have is not taken from an analysis"
    assert (refused.mean_watts, refused.refused) == (None, {"power_watts"})


def test_a_file_whose_analysis_is_no_csv_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path / "in", f"test_results_{number}.json", scenario("a"))
    (tmp_path / "in" / "test_results_1_analysis.csv").write_text(f"name,mean_power_w\na,{'1' * 200_000}\n")
    found, _ = taken(tmp_path, str(tmp_path / "in"))
    assert [each.run_id for each in found] == ["test_results_2"]


def test_of_one_name_the_latest_measurement_counts() -> None:
    old, new = (Results(day, day, (Scenario(name="a", mean_power_w=w),)) for day, w in (("1", 5.0), ("2", 6.0)))
    assert [each.mean_watts for each in latest([old, new])] == [6.0]


def test_files_are_in_the_order_they_were_measured(tmp_path: Path) -> None:
    write(tmp_path / "in", "test_results_1.json", scenario("a"), test_date="2026-01-31T23:00:00-05:00")
    write(tmp_path / "in", "test_results_2.json", scenario("a"), test_date="2026-02-01T00:00:00Z")
    found, _ = taken(tmp_path, str(tmp_path / "in"))
    assert [each.run_id for each in found] == ["test_results_2", "test_results_1"]


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("results", InvalidParameter, "an absolute folder of test_results"),
        ("/nowhere/at/all", InvalidParameter, "an absolute folder of test_results"),
        ("synthetic://?file=3", InvalidParameter, "are synthetic://.files=3&seed=7"),
        ("synthetic://?files=0", InvalidParameter, "of 1 to 1000 files, got 0"),
    ],
)
def test_a_source_that_is_none_is_refused(tmp_path: Path, source: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        taken(tmp_path, source)


def test_a_folder_without_any_power_is_refused_with_what_was_wrong(tmp_path: Path) -> None:
    write(tmp_path / "in", "test_results_1.json", scenario("a", power_watts=[1.0, -1.0]))
    with pytest.raises(
        InvalidData, match=r"has 1 scenarios in 1 sound files and none has any; first of 1 remarks: .*sample 1"
    ):
        taken(tmp_path, str(tmp_path / "in"))
    assert not (tmp_path / "results").exists()


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        taken(tmp_path, "", "localhost:9090")


def timed(name: str, start: float) -> dict[str, Any]:
    return scenario(name, start_time=start, end_time=start + 20, power_watts=None, step_seconds=None)


def test_samples_that_files_lack_are_asked_of_prometheus(tmp_path: Path, fake: Fake) -> None:  # noqa: F811
    write(tmp_path / "in", "test_results_1.json", timed("bare", 1000), scenario("own", start_time=2000, end_time=2020))
    (found,), _ = taken(tmp_path, str(tmp_path / "in"), fake.url)
    assert [each.mean_watts for each in found.scenarios] == [24.0, 9.0]
    assert {asked["start"] for asked in fake.asked if "rapl" in asked["query"]} == {"1000.000"}


def test_a_prometheus_that_wants_a_token_gets_that_of_the_step(
    tmp_path: Path,
    fake: Fake,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    answer, fake.answer = (
        fake.answer,
        lambda asked: answer(asked) if fake.tokens[-1] == "Bearer word" else (401, "who?"),
    )
    write(tmp_path / "in", "test_results_1.json", timed("bare", 1000), scenario("own", start_time=2000, end_time=2020))
    assert [each.mean_watts for each in taken(tmp_path, str(tmp_path / "in"), fake.url)[0][0].scenarios] == [None, 9.0]
    assert 'HTTP 401 "who?"; give the token that it wants, FLEETML_PROMETHEUS_TOKEN, ' in caplog.text
    monkeypatch.setenv("FLEETML_PROMETHEUS_TOKEN", "word\n")
    assert [each.mean_watts for each in taken(tmp_path, str(tmp_path / "in"), fake.url)[0][0].scenarios] == [24.0, 9.0]


def test_the_step_asks_for_the_secret_prometheus_and_runs_without_one() -> None:
    (asked,) = load_pipeline(ROOT / "dags/cost_model/pipeline.yaml").steps["measurements"].platform["secretAsEnv"]
    assert asked["secretName"] == Constant("prometheus")
    assert asked["keyToEnv"] == [{"secretKey": "token", "envVar": "FLEETML_PROMETHEUS_TOKEN"}]
    assert asked["optional"] is True


def test_of_files_measured_at_the_same_time_nothing_is_asked(
    tmp_path: Path,
    fake: Fake,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(tmp_path / "in", "test_results_1.json", timed("a", 1000), timed("apart", 5000))
    write(tmp_path / "in", "test_results_2.json", timed("b", 1010))
    with caplog.at_level(logging.INFO):
        found, _ = taken(tmp_path, str(tmp_path / "in"), fake.url)
    known = {each.name: each.mean_watts for results in found for each in results.scenarios}
    assert known == {"a": None, "apart": 24.0, "b": None}
    assert "'a' of test_results_1 was measured at the same time as" in caplog.text


def test_a_prometheus_that_does_not_answer_is_asked_once(
    tmp_path: Path,
    fake: Fake,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake.answer = lambda asked: (503, "down")
    names = [timed("a", 1000), timed("b", 2000), timed("c", 3000), scenario("own", start_time=4000, end_time=4020)]
    write(tmp_path / "in", "test_results_1.json", *names)
    with caplog.at_level(logging.INFO):
        (found,), metrics = taken(tmp_path, str(tmp_path / "in"), fake.url)
    assert len(fake.asked) == 1
    assert [each.mean_watts for each in found.scenarios] == [None, None, None, 9.0]
    assert "must answer within" in caplog.text
    assert metrics.metadata["with_power"] == 1


@pytest.mark.skipif(not REAL.exists(), reason=f"the published measurements are not in {REAL}")
def test_the_published_measurements_are_taken_in_whole(tmp_path: Path) -> None:
    found, metrics = taken(tmp_path, str(REAL))
    assert metrics.metadata["files"] == 5
    (first,) = (each for each in found if each.run_id == "test_results_20251228_203216")
    assert first.baseline is not None
    assert first.baseline.mean_watts == 5.18
