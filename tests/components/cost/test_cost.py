"""From measurements to what exporters read: power model, recommendations, predictions."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from components.cost.export import MODEL, PREDICTIONS, RECOMMENDATIONS, export
from components.cost.fit import fit
from components.cost.measurements import measurements
from components.cost.recommendation import recommend
from components.cost.synthetic import watts
from fleetml.component import Artifact
from fleetml.cost import scores
from fleetml.cost.power.fit import KINDS
from fleetml.cost.power.model import PowerModel
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.ranges import RANGES


def test_the_words_that_every_engine_takes_are_those_that_are_known() -> None:
    assert set(RANGES["power_kind"]["enum"]) == {"auto", *KINDS}
    assert set(RANGES["score"]["enum"]) == {"auto", *scores.RULES}


class Made:
    """The artifacts of a run of the four steps in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getattr__(self, name: str) -> Artifact:
        made = Artifact(name, str(self.folder / name))
        setattr(self, name, made)
        return made


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def taken(made: Made, source: str = "") -> Made:
    measurements(source, "", made.results, made.measured)
    return made


def files(folder: Path, *scenarios: dict[str, Any]) -> str:
    folder.mkdir()
    (folder / "test_results_1.json").write_text(json.dumps({"scenarios": scenarios}))
    return str(folder)


def scenario(name: str, power: float, **known: Any) -> dict[str, Any]:
    usual = {"bitrate": "2500k", "resolution": "1280x720", "fps": 30, "power_watts": [power] * 9, "step_seconds": 5}
    return {"name": name, "duration": 40, **usual, **known}


def test_the_power_of_a_load_is_learnt_and_its_error_told(made: Made) -> None:
    fit(taken(made).results, "auto", 0, 0, made.power_model, made.metrics)
    model = PowerModel.from_json(made.power_model.path.read_text())
    about = {"streams": 4.0, "mbps": 2.5, "megapixels": 0.9216, "fps": 30.0, "encoder": "h264", "hardware": "cpu"}
    told = model.predict(about)
    assert told is not None
    assert told.watts == pytest.approx(watts(4, 2.5), rel=0.03)
    assert made.metrics.metadata["rows"] == 45
    assert 0 < made.metrics.metadata["mae_w"] < 0.5
    assert 0 < made.metrics.metadata["mae_of_a_file_w"] < 0.5
    assert made.metrics.metadata["r2"] > 0.98


def test_a_file_of_another_day_is_harder_than_a_measurement_left_out(made: Made, tmp_path: Path) -> None:
    """The second day draws 10 W more: what knows a part of that day errs less than what knows none of it."""
    folder = tmp_path / "in"
    folder.mkdir()
    for day, more in (("1", 0.0), ("2", 10.0)):
        rows = [scenario(f"{n} Streams @ 2500k", 5.0 + n + more) for n in (1, 2, 3, 4, 5)]
        (folder / f"test_results_{day}.json").write_text(json.dumps({"scenarios": rows}))
    fit(taken(made, str(folder)).results, "auto", 0, 0, made.power_model, made.metrics)
    assert made.metrics.metadata["mae_of_a_file_w"] == pytest.approx(10, abs=1.5)
    assert made.metrics.metadata["mae_w"] < 8


def test_one_file_tells_of_no_other_day(made: Made, tmp_path: Path) -> None:
    rows = [scenario(f"{n} Streams @ 2500k", 5.0 + n) for n in (1, 2, 3)]
    fit(taken(made, files(tmp_path / "in", *rows)).results, "auto", 0, 0, made.power_model, made.metrics)
    assert "mae_of_a_file_w" not in made.metrics.metadata


def test_the_latest_files_alone_are_learnt_from_where_that_is_asked(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for day, more in (("2026-02-02", 10.0), ("2026-02-01", 0.0)):
        rows = [scenario(f"{n} Streams @ 2500k", 5.0 + n + more) for n in (1, 2, 3, 4, 5)]
        (folder / f"test_results_{more}.json").write_text(json.dumps({"scenarios": rows, "test_date": day}))
    fit(taken(made, str(folder)).results, "streams", 1, 0, made.power_model, made.metrics)
    told = PowerModel.from_json(made.power_model.path.read_text()).predict({"streams": 3.0})
    assert told is not None
    assert told.watts == pytest.approx(18.0)


def test_too_few_measurements_are_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="needs 3 measurements, got 1"):
        fit(taken(made, files(tmp_path / "in", scenario("a", 5))).results, "auto", 0, 0, made.power_model, made.metrics)


def test_the_best_of_each_ladder_and_how_surely_it_leads(made: Made) -> None:
    recommend(taken(made).results, "auto", 2, made.recommendations, made.report, made.metrics)
    single, ladder = json.loads(made.recommendations.path.read_text())["ladders"]
    assert [each["scenario"] for each in single["ranking"]] == ["8 Streams @ 5000k", "4 Streams @ 5000k"]
    assert single["unit"] == "Mbps/W"
    assert single["lead"]["differs"] is True
    assert ladder["output_ladder"] == "1920x1080@30,1280x720@30,854x480@30"
    assert made.metrics.metadata["best"] == "8 Streams @ 5000k"
    page = made.report.path.read_text()
    assert "<td>8 Streams @ 5000k<td>" in page
    assert "The first is before the second" in page


def test_names_of_scenarios_are_no_markup(made: Made, tmp_path: Path) -> None:
    source = files(tmp_path / "in", scenario("<script>", 5), scenario("b", 6))
    recommend(taken(made, source).results, "auto", 0, made.recommendations, made.report, made.metrics)
    assert "<script>" not in made.report.path.read_text()


def test_without_a_ladder_nothing_is_recommended(made: Made, tmp_path: Path) -> None:
    source = files(tmp_path / "in", scenario("a", 5, resolution="N/A"))
    with pytest.raises(InvalidData, match="none of 1 has both a ladder and a score by the rule auto"):
        recommend(taken(made, source).results, "auto", 0, made.recommendations, made.report, made.metrics)


def exported(made: Made, exports_dir: str) -> dict[str, Any]:
    fit(made.results, "auto", 0, 0, made.power_model, made.fitted)
    recommend(made.results, "auto", 0, made.recommendations, made.report, made.ranked)
    export(made.results, made.power_model, made.recommendations, exports_dir, made.exported, made.metrics)
    found: dict[str, Any] = json.loads((made.exported.path / PREDICTIONS).read_text())
    return found


def test_what_was_measured_is_exported_with_what_was_expected(made: Made, tmp_path: Path) -> None:
    rows = [scenario(f"{n} Streams @ 2500k", 5.0 + n) for n in (1, 2, 3, 4)]
    source = files(tmp_path / "in", scenario("Baseline (Idle)", 5.0, bitrate="0k"), *rows)
    found = exported(taken(made, source), str(tmp_path / "out"))["scenarios"]
    assert [each["scenario"] for each in found][:2] == ["Baseline (Idle)", "1 Streams @ 2500k"]
    for each in found:
        assert each["predicted_power_watts"] == pytest.approx(each["mean_power_watts"], rel=0.02)
        assert each["prediction_confidence_low"] <= each["predicted_power_watts"] <= each["prediction_confidence_high"]
    for name in (MODEL, PREDICTIONS, RECOMMENDATIONS):
        assert (tmp_path / "out" / name).read_text() == (made.exported.path / name).read_text()
    assert made.metrics.metadata == {**{"scenarios": 5, "predicted": 5, "beyond_what_was_measured": 0, "written": True}}


def test_beyond_what_was_measured_no_interval_is_exported(made: Made, tmp_path: Path) -> None:
    """As the exporter does: there the interval does not hold."""
    rows = [scenario(f"{n} Streams @ 2500k", 5.0 + n) for n in (1, 2, 3, 4)]
    bare = scenario("100 Streams @ 2500k", 1.0, power_watts=None, step_seconds=None)
    found = exported(taken(made, files(tmp_path / "in", *rows, bare)), "")["scenarios"][-1]
    assert found["beyond"]
    assert found["predicted_power_watts"] > 50
    assert found["prediction_confidence_low"] is found["prediction_confidence_high"] is None


def test_synthetic_results_reach_no_exporter(made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = exported(taken(made), str(tmp_path / "out"))
    assert len(found["scenarios"]) == 45
    assert not (tmp_path / "out").exists()
    assert "the results are synthetic, so nothing is written" in caplog.text


def test_a_folder_that_cannot_be_written_is_refused(made: Made, tmp_path: Path) -> None:
    rows = [scenario(f"{n} Streams @ 2500k", 5.0 + n) for n in (1, 2, 3)]
    taken(made, files(tmp_path / "in", *rows))
    (tmp_path / "file").touch()
    with pytest.raises(InvalidParameter, match="exports_dir is a folder that can be written"):
        exported(made, str(tmp_path / "file"))


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_page_of_synthetic_results_says_so(made: Made, tmp_path: Path, synthetic: bool) -> None:
    source = "" if synthetic else files(tmp_path / "in", scenario("a", 5), scenario("b", 6))
    recommend(taken(made, source).results, "auto", 0, made.recommendations, made.report, made.metrics)
    assert ("synthetic results: invented, not measured" in made.report.path.read_text()) == synthetic
