"""What steps would refuse is told before the first one, with the parameter that a person gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleetml.errors import InvalidParameter
from fleetml.pipeline import Plan, load, plan_of
from fleetml.workflow import beforehand
from fleetml.workflow.emit import compiled
from fleetml.workflow.spec import parse

DAGS = Path(__file__).parents[2] / "dags"


def plan(**parameters: Any) -> Plan:
    prepare = {"task_id": "data", "task_type": "DATA_PREPROCESSING", "parameters": parameters}
    return plan_of(compiled(parse({"workflow_id": "w", "name": "W", "tasks": [prepare]})))


def refuse(plan: Plan, *known: Any, **given: Any) -> str:
    with pytest.raises(InvalidParameter) as refused:
        beforehand.check(plan, plan.bind(given), *known)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("horizon", 0, "parameter 'horizon' of step 'validate' must be at least 1, got 0"), ("context", -1, "'context'")],
)
def test_what_cannot_be_of_a_forecaster_is_refused(name: str, value: Any, told: str) -> None:
    pipeline = load(DAGS / "train_forecaster" / "pipeline.yaml")
    beforehand.check(pipeline, pipeline.bind({}))
    assert told in refuse(pipeline, **{name: value})


def test_data_of_a_workflow_that_are_not_there_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "rows.csv"
    told = refuse(plan(dataset_path=str(place)))
    assert (
        f"parameter 'dataset_path' of step 'data' must be a file, a folder or a URL that is there, {place} is not"
        in told
    )
    place.touch()
    beforehand.check(plan(dataset_path=str(place)), {})
    monkeypatch.chdir(tmp_path)
    assert f"give {place}" in refuse(plan(dataset_path="rows.csv"))
    beforehand.check(plan(dataset_path="s3://bucket/rows.csv"), {})


def test_data_elsewhere_and_steps_that_are_kept_are_not_asked_for() -> None:
    missing = plan(dataset_path="/no/such/rows.csv")
    beforehand.check(missing, {}, here=False)
    beforehand.check(missing, {}, kept=["data"])


def test_what_an_earlier_step_writes_is_not_there_yet() -> None:
    made = {"dataset_path": "/no/such/made.csv"}
    tasks = [
        {
            "task_id": "ask",
            "task_type": "BATCH_INFERENCE",
            "parameters": {"model_name": "m", "output_path": made["dataset_path"], "dataset_path": "s3://b/x.csv"},
        },
        {"task_id": "again", "task_type": "DATA_PREPROCESSING", "parameters": made, "dependencies": ["ask"]},
    ]
    whole = plan_of(compiled(parse({"workflow_id": "w", "name": "W", "tasks": tasks})))
    beforehand.check(whole, whole.bind({}))
