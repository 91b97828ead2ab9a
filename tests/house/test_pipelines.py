"""The project's own pipelines: what their IRs must say, whatever they are made of."""

from pathlib import Path

import pytest

from fleetml.pipeline import load
from fleetml.pipeline.model import Template

DAGS = Path(__file__).parents[2] / "dags"
REGISTER = "components.register.register:register"


@pytest.mark.parametrize(
    "name",
    [
        "train_forecaster",
        "transfer_forecaster",
        "federated_forecaster",
        "train_placement",
        "train_anomaly",
        "train_window_anomaly",
    ],
)
def test_a_registered_model_names_the_run_that_made_it(name: str) -> None:
    plan = load(DAGS / name / "pipeline.yaml")
    (register,) = (step for step in plan.steps.values() if REGISTER in step.container.command)
    assert register.parameters["run_id"] == Template("{{$.pipeline_job_uuid}}", {})
