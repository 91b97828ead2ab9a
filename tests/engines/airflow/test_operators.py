"""What the operators make of a run's context and of its record, without a run."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("airflow", reason="Airflow lives in the orchestrator environment")

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException

from fleetml.engines.airflow.operators import ParametersOperator, StepOperator, _reopened
from fleetml.engines.airflow.source import Source, record_id, task_id
from fleetml.pipeline import Parameter, Plan, load
from fleetml.pipeline.model import Container, PipelineInput, Resources, Step
from fleetml.records import Attempt, Run
from fleetml.settings import Settings
from fleetml.step import Failure, StepOutcome
from fleetml.triggers import AssetTrigger, Triggers

DRIFT = AssetTrigger("fleetml://drift/cpu", {"drift": "features"})
MONDAY = datetime(2026, 3, 2, 3, tzinfo=UTC)


@dataclass
class DagRun:
    """What an operator reads of Airflow's own."""

    conf: dict[str, Any] = field(default_factory=dict)
    run_type: str = "manual"
    run_id: str = "manual__2026"
    dag_id: str = "react"
    data_interval_end: datetime | None = None
    run_after: datetime = MONDAY


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/images.toml").touch()
    ir = tmp_path / "pipeline.yaml"
    ir.write_text("{}")
    inputs = {"drift": Parameter("drift", "STRUCT", {}), "end": Parameter("end", "STRING", "")}
    triggers = Triggers(assets=(DRIFT,), data_interval_end="end")
    settings = Settings.from_environment({"FLEETML_PROJECT": str(tmp_path)})
    return Source(Plan("react", "0" * 64, inputs, {}), ir, triggers, settings)


def resolved(source: Source, run: DagRun, **context: Any) -> dict[str, Any]:
    """Return what the first task resolves; `params` are what Airflow makes of defaults and conf."""
    task = ParametersOperator(task_id="parameters", source=source)
    found: dict[str, Any] = task.execute({"params": {"drift": {}, "end": "", **run.conf}, "dag_run": run, **context})
    assert source.records(run).read()["parameters"] == found
    return found


def event(payload: dict[str, Any] | None, minute: int) -> Any:
    return SimpleNamespace(extra=payload, timestamp=MONDAY.replace(minute=minute))


def test_the_latest_event_of_the_asset_fills_the_parameters(source: Source) -> None:
    events = {
        Asset(name=DRIFT.uri, uri=DRIFT.uri): [
            event({"features": {"cpu": 0.9}}, 5),
            event({"features": {"cpu": 0.1}}, 1),
        ],
        Asset(name="other://x", uri="other://x"): [event({"features": {"disk": 1.0}}, 9)],
    }
    run = DagRun(run_type="asset_triggered")
    assert resolved(source, run, triggering_asset_events=events)["drift"] == {"cpu": 0.9}


@pytest.mark.parametrize("payload", [None, {}, {"score": 1.0}])
def test_an_event_without_the_key_leaves_the_default(source: Source, payload: dict[str, Any] | None) -> None:
    events = {Asset(name=DRIFT.uri, uri=DRIFT.uri): [event(payload, 0)]}
    assert resolved(source, DagRun(run_type="asset_triggered"), triggering_asset_events=events)["drift"] == {}


@pytest.mark.parametrize(
    ("run_type", "end"),
    [("scheduled", "2026-03-02T03:00:00Z"), ("backfill", "2026-03-02T03:00:00Z"), ("manual", "")],
)
def test_a_scheduled_run_gets_the_end_of_its_interval(source: Source, run_type: str, end: str) -> None:
    assert resolved(source, DagRun(run_type=run_type, data_interval_end=MONDAY))["end"] == end


def test_defaults_of_the_triggers_are_those_of_now(source: Source) -> None:
    source = replace(source, triggers=replace(source.triggers, defaults={"end": "2026-05-01"}))
    assert resolved(source, DagRun())["end"] == "2026-05-01"
    assert resolved(source, DagRun(conf={"end": "2026-06-01"}))["end"] == "2026-06-01"


def test_what_is_given_by_hand_goes_before_all(source: Source) -> None:
    run = DagRun(conf={"end": "2025-01-01"}, run_type="backfill", data_interval_end=MONDAY)
    assert resolved(source, run)["end"] == "2025-01-01"


def test_an_unknown_parameter_is_refused_in_one_sentence(source: Source) -> None:
    with pytest.raises(AirflowFailException, match="no parameter 'ends'; did you mean 'end'") as raised:
        resolved(source, DagRun(conf={"ends": "x"}))
    assert raised.value.__cause__ is None


def test_a_step_without_parameters_does_not_run(source: Source) -> None:
    task = StepOperator(task_id="a", source=source, step="a")
    with pytest.raises(AirflowFailException, match="task 'parameters' failed"):
        task.execute({"ti": SimpleNamespace(xcom_pull=lambda task_ids: None), "dag_run": DagRun()})


def test_a_value_that_does_not_fit_fails_the_step_before_it_starts_and_is_recorded(source: Source) -> None:
    step = Step(
        name="a",
        label="a",
        component="a",
        container=Container("fleetml/ml"),
        parameters={"n": PipelineInput("drift")},
        input_parameters={"n": Parameter("n", "NUMBER_INTEGER")},
    )
    source = replace(source, plan=replace(source.plan, steps={"a": step}))
    source.start(DagRun(), {"drift": {"cpu": 0.4}})
    task = StepOperator(task_id="a", source=source, step="a")
    pulled = SimpleNamespace(xcom_pull=lambda task_ids: {"drift": {"cpu": 0.4}})
    with pytest.raises(AirflowFailException, match="must be an integer"):
        task.execute({"ti": pulled, "dag_run": DagRun()})
    attempt = source.records(DagRun()).latest()["a"]
    assert attempt.state == "failed"
    assert "must be an integer" in attempt.reason


@pytest.mark.parametrize(
    ("kind", "meant_for_people", "again"),
    [("ValueError", False, True), ("InvalidData", True, False), ("Unavailable", True, True)],
)
def test_what_may_go_better_later_is_tried_again(
    source: Source, kind: str, meant_for_people: bool, again: bool
) -> None:
    failure = Failure("fit", kind, "no answer", user_error=meant_for_people)
    raised = StepOperator(task_id="fit", source=source, step="fit")._error(StepOutcome("failed", failure=failure))
    assert isinstance(raised, AirflowFailException) == (not again)


def test_records_of_two_dags_never_meet() -> None:
    scheduled = "scheduled__2026-03-02T03:00:00+00:00"
    assert record_id("a", scheduled) != record_id("b", scheduled)
    assert record_id("a", "a__mine") == "a__mine"
    assert record_id("a", "what/ever") == "a__what-ever"
    assert task_id("group/inner/step") == "group.inner.step"


def test_a_step_cleared_after_the_end_reopens_the_record_and_ends_it_again(source: Source) -> None:
    source.start(DagRun(), {})
    records: Run = source.records(DagRun())
    records.update(steps=["a"])
    records.note("a", "failed", "as it was")
    records.finish("failed")
    with _reopened(records):
        assert records.read()["state"] == "running"
        records.note("a", "skipped", "as it is now")
    assert records.read()["state"] == "succeeded"
    with contextlib.suppress(KeyboardInterrupt), _reopened(records):
        records.note("a", "cancelled", "killed")
        raise KeyboardInterrupt
    assert records.read()["state"] == "cancelled"


def test_a_step_of_a_run_that_goes_on_leaves_its_end_to_the_last_task(source: Source) -> None:
    source.start(DagRun(), {})
    with _reopened(source.records(DagRun())):
        pass
    assert source.records(DagRun()).read()["state"] == "running"


def test_of_steps_cleared_at_once_the_last_one_tells_how_the_run_ended(source: Source) -> None:
    source.start(DagRun(), {})
    records = source.records(DagRun())
    records.update(steps=["a", "b"])
    for step in ("a", "b"):
        records.note(step, "failed", "as it was")
    records.finish("failed")
    with _reopened(records):
        number, _ = records.begin("b")
        records.write(Attempt("b", number, "running"))
        with _reopened(records):
            records.note("a", "skipped", "as it is now")
        assert records.read()["state"] == "running"
        records.write(Attempt("b", number, "cancelled"))
    assert records.read()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("container", "said"),
    [
        (Container("no/such:1"), "step 'a': image 'no/such:1' has no environment on this machine"),
        (
            Container("here", resources=Resources(accelerator_count="64", accelerator_type="NVIDIA_H100")),
            "step 'a' asks for 64 GPUs",
        ),
    ],
    ids=["image", "GPU"],
)
def test_what_a_step_lacks_on_this_machine_is_told_before_the_first_step(
    source: Source, container: Container, said: str
) -> None:
    project = source.settings.project
    (project / "lock.txt").touch()
    (project / "images/images.toml").write_text(f'[images.here]\nvenv = "{sys.prefix}"\nlocks = ["lock.txt"]\n')
    step = Step(name="a", label="a", component="a", container=container)
    source = replace(source, plan=replace(source.plan, steps={"a": step}))
    with pytest.raises(AirflowFailException, match=said):
        resolved(source, DagRun())
    assert not source.records(DagRun()).exists()


def test_a_run_id_of_another_engine_s_run_is_refused_and_that_run_left_alone(source: Source) -> None:
    records = source.records(DagRun())
    records.start({"pipeline": "react", "engine": "local", "parameters": {}, "steps": []})
    before = records.read()
    with pytest.raises(
        AirflowFailException, match=r"a run id is used once, .* is that of another run \(engine local\)"
    ):
        resolved(source, DagRun())
    assert records.read() == before
    source.records(DagRun(run_id="again")).start({"engine": "airflow", "dag_id": "react", "dag_run_id": "again"})
    resolved(source, DagRun(run_id="again"))  # its first task was cleared


def test_a_number_out_of_range_ends_the_run_before_its_first_step(source: Source) -> None:
    plan = load(Path(__file__).parents[3] / "dags/refresh_features/pipeline.yaml", fold=True)
    ours = replace(source, plan=plan, triggers=Triggers())
    run = DagRun(dag_id="refresh_features", conf={"window_days": 0})
    with pytest.raises(AirflowFailException, match="'window_days' of step 'ingest' must be at least 1, got 0"):
        ParametersOperator(task_id="parameters", source=ours).execute({"params": {}, "dag_run": run})
    assert not ours.records(run).exists()
