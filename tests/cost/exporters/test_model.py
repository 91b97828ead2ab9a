"""Predicted power, of a model's file as it is now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleetml.cost.exporters.model import Model
from fleetml.cost.power.model import PowerModel
from fleetml.cost.power.terms import Term
from tests.cost.exporters.measured import scenario, write
from tests.cost.exporters.test_service import RESULTS, Shown


def straight(per_stream: float) -> str:
    """Return a model: 8 W and so much a stream, 1 W less or more in its draws."""
    return PowerModel(
        kind="linear",
        terms=(Term((("streams"),)),),
        coefficients=(8.0, per_stream),
        draws=((7.0, per_stream), (9.0, per_stream)),
        noise=(0.0, 0.0),
        ranges={"streams": (1.0, 8.0)},
        words={},
        rows=4,
        mae=0.1,
        r2=0.99,
    ).to_json()


def rewrite(path: Path, text: str, second: int) -> None:
    path.write_text(text)
    os.utime(path, (second, second))


def test_the_results_exporter_tells_what_the_model_predicts(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    write(tmp_path, scenario("4 Streams", duration=10))
    model = Model(file)
    shown = Shown(tmp_path, predict=model)
    shown.look()
    assert "results_scenario_predicted_power_watts" not in shown.told(RESULTS)
    assert "nothing is predicted" in model.faults[0]
    rewrite(file, straight(3.0), 1)
    assert shown.look()
    told = shown.told(RESULTS)
    assert model.faults == ()
    assert told["results_scenario_predicted_power_watts"] == {"4 Streams": 20.0}
    assert told["results_scenario_predicted_energy_joules"] == {"4 Streams": 200.0}
    assert told["results_scenario_prediction_confidence_low"]["4 Streams"] == pytest.approx(19.05)
    assert told["results_scenario_prediction_confidence_high"]["4 Streams"] == pytest.approx(20.95)
    assert not shown.look()
    rewrite(file, straight(3.0)[:-40], 2)
    assert not shown.look()
    assert "as before" in model.faults[0]
    rewrite(file, straight(4.0), 3)
    assert shown.look()
    assert shown.told(RESULTS)["results_scenario_predicted_power_watts"] == {"4 Streams": 24.0}


def test_beyond_what_was_measured_there_is_no_interval(tmp_path: Path) -> None:
    """The bootstrap says nothing of it: the interval would be a wrong number."""
    file = tmp_path / "model.json"
    rewrite(file, straight(3.0), 1)
    write(tmp_path, scenario("16 Streams", duration=10))
    shown = Shown(tmp_path, predict=Model(file))
    shown.look()
    told = shown.told(RESULTS)
    assert told["results_scenario_predicted_power_watts"] == {"16 Streams": 56.0}
    assert "results_scenario_prediction_confidence_low" not in told
    assert "results_scenario_prediction_confidence_high" not in told
