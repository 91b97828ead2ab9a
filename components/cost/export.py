"""What the exporters and other programs read: power model, predictions, recommendations, as files that are replaced whole."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from components.cost.measurements import load
from fleetml import atomic
from fleetml.component import Artifact
from fleetml.cost.power.model import PowerModel
from fleetml.cost.power.rows import features
from fleetml.cost.scenarios import Scenario
from fleetml.errors import InvalidParameter

log = logging.getLogger(__name__)

MODEL, PREDICTIONS, RECOMMENDATIONS = "power_model.json", "predictions.json", "recommendations.json"


def export(
    results: Artifact,
    power_model: Artifact,
    recommendations: Artifact,
    exports_dir: str,
    exported: Artifact,
    metrics: Artifact,
) -> None:
    """Write `MODEL`, `PREDICTIONS` and `RECOMMENDATIONS` into the folder `exported`, and into `exports_dir` ("": nowhere else).

    What comes of synthetic results stays in `exported`: exporters would tell it of real scenarios of the same names.
    A prediction is absent where the model lacks a feature of the scenario, its interval also beyond what was measured. Raises InvalidParameter for a folder that cannot be written.
    """
    text = power_model.path.read_text(encoding="utf-8")
    model = PowerModel.from_json(text, str(power_model.path))
    found = load(results.path)
    predictions = [_told(model, each.run_id, scenario) for each in found for scenario in each.scenarios]
    content = {
        MODEL: text,
        PREDICTIONS: json.dumps({"scenarios": predictions}, allow_nan=False) + "\n",
        RECOMMENDATIONS: recommendations.path.read_text(encoding="utf-8"),
    }
    outside = bool(exports_dir) and not results.metadata.get("synthetic")
    for folder in (exported.path, *([Path(exports_dir)] if outside else [])):
        _write(folder, content)
    if exports_dir and not outside:
        log.info("the results are synthetic, so nothing is written to %s; give a source", exports_dir)
    predicted = [each for each in predictions if each["predicted_power_watts"] is not None]
    beyond = sum(bool(each["beyond"]) for each in predicted)
    metrics.log(scenarios=len(predictions), predicted=len(predicted), beyond_what_was_measured=beyond, written=outside)


def _told(model: PowerModel, run_id: str, scenario: Scenario) -> dict[str, Any]:
    found = model.predict(features(scenario))
    within = found is not None and not found.beyond  # elsewhere the interval does not hold
    return {
        "run_id": run_id,
        "scenario": scenario.name,
        "mean_power_watts": scenario.mean_watts,
        "predicted_power_watts": found.watts if found else None,
        "prediction_confidence_low": found.low if found and within else None,
        "prediction_confidence_high": found.high if found and within else None,
        "beyond": list(found.beyond) if found else [],
    }


def _write(folder: Path, content: dict[str, str]) -> None:
    try:
        for name, text in content.items():
            atomic.write_text(folder / name, text)
    except OSError as error:
        raise InvalidParameter(
            f"exports_dir is a folder that can be written, got {folder}: {error.strerror}; give another"
        ) from None
