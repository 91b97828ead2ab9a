"""DAGs as Airflow's own DagBag sees them: no server is started here."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("airflow", reason="Airflow lives in the orchestrator environment")

from airflow.exceptions import SerializationError
from airflow.sdk import DAG, TriggerRule
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization

from fleetml.engines.airflow import PipelineDag, check_dags, load_dags
from fleetml.engines.airflow.graph import edges
from fleetml.engines.airflow.loops import shares
from fleetml.engines.airflow.params import params
from fleetml.engines.airflow.source import Source
from fleetml.errors import ConfigurationError, InvalidPipeline, UnsupportedConstruct
from fleetml.images import Images
from fleetml.pipeline import Parameter, Plan, Step, load
from fleetml.pipeline.model import Container
from fleetml.settings import Settings
from fleetml.triggers import AssetTrigger, Emit, Triggers

PIPELINES = Path(__file__).parents[2] / "pipelines"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/images.toml").touch()
    return Settings.from_environment({"FLEETML_PROJECT": str(tmp_path)})


def dag_of(name: str, settings: Settings, triggers: Triggers | None = None) -> tuple[Plan, DAG]:
    path = PIPELINES / f"{name}.yaml"
    plan = load(path)
    return plan, PipelineDag(pipeline=Source(plan, path, triggers or Triggers(), settings))


def test_every_step_is_a_task_between_parameters_and_record(settings: Settings) -> None:
    plan, dag = dag_of("branches", settings)
    assert {t.task_id for t in dag.tasks} == {"parameters", "record"} | {s.replace("/", ".") for s in plan.steps}
    for name, step in plan.steps.items():
        task = dag.get_task(name.replace("/", "."))
        assert task.upstream_task_ids <= ({s.replace("/", ".") for s in step.upstream} or {"parameters"})
        assert {s.replace("/", ".") for s in step.upstream} <= task.get_flat_relative_ids(upstream=True)
        last = not any(name in other.upstream for other in plan.steps.values())
        assert ("record" in task.downstream_task_ids) == last
    assert dag.get_task("record").is_teardown


def chained(**steps: tuple[tuple[str, ...], bool]) -> Plan:
    """A plan of steps by name: what is upstream of each, and whether it runs after failures."""
    container = Container("image")
    made = {
        name: Step(
            name=name, label=name, component=name, container=container, upstream=before, runs_after_failure=after
        )
        for name, (before, after) in steps.items()
    }
    return Plan("p", "d", {}, made)


def test_an_edge_that_others_imply_is_not_drawn() -> None:
    plan = chained(a=((), False), b=(("a",), False), c=(("a", "b"), False), d=(("a", "c"), False))
    assert edges(plan) == {"a": (), "b": ("a",), "c": ("b",), "d": ("c",)}


def test_steps_that_run_after_failures_imply_nothing() -> None:
    plan = chained(a=((), False), b=(("a",), True), c=(("a", "b"), False), d=(("a", "c"), True))
    assert edges(plan) == {"a": (), "b": ("a",), "c": ("a", "b"), "d": ("a", "c")}


def test_a_loop_is_task_groups_or_a_mapped_task(settings: Settings) -> None:
    path = PIPELINES / "loop.yaml"
    dag = PipelineDag(pipeline=Source(load(path, fold=True), path, Triggers(), settings))
    assert {"for-loop-2.0.echo", "for-loop-2.1.echo"} <= set(dag.task_ids)  # literal items
    inner, limited = dag.get_task("for-loop-4.0.for-loop-5.iteration"), dag.get_task("many.for-loop-1.iteration")
    assert inner.is_mapped  # a list of the run
    assert limited.is_mapped  # one iteration at a time
    assert (inner.max_active_tis_per_dagrun, limited.max_active_tis_per_dagrun) == (None, 1)
    assert dag.get_task("many.join").upstream_task_ids == {"many.for-loop-1.outcome"}
    kept = [str(task) for task in DagSerialization.to_dict(dag)["dag"]["tasks"]]
    assert max(map(len, kept)) < 5000  # what Airflow keeps of a mapped task holds no plan


@pytest.mark.parametrize(
    ("count", "most", "parts"),
    [(0, 9, [[]]), (3, 9, [[0], [1], [2]]), (5, 2, [[0, 1, 2], [3, 4]]), (4, 4, [[0], [1], [2], [3]])],
)
def test_a_list_longer_than_airflow_maps_is_shared_out(count: int, most: int, parts: list[list[int]]) -> None:
    assert shares(count, most) == parts


def test_task_groups_mirror_sub_dags(settings: Settings) -> None:
    plan, dag = dag_of("nested", settings)
    assert set(dag.task_group.get_task_group_dict()) - {None} == {g.replace("/", ".") for g in plan.groups}


def test_a_step_that_cleans_up_runs_whatever_happened_before(settings: Settings) -> None:
    plan, dag = dag_of("cleanup", settings)
    for name, step in plan.steps.items():
        wanted = TriggerRule.ALL_DONE if step.runs_after_failure else TriggerRule.NONE_FAILED
        assert dag.get_task(name.replace("/", ".")).trigger_rule == wanted


def test_parameters_become_typed_params(settings: Settings) -> None:
    plan, dag = dag_of("types", settings)
    json_types = {
        "STRING": "string",
        "NUMBER_INTEGER": "integer",
        "NUMBER_DOUBLE": "number",
        "BOOLEAN": "boolean",
        "LIST": "array",
        "STRUCT": "object",
    }
    for name, definition in plan.inputs.items():
        schema = dag.params.get_param(name).schema
        assert json_types[definition.type] in schema["type"]
        assert ("null" in schema["type"]) != definition.required


def test_the_form_has_the_order_of_the_signature(settings: Settings) -> None:
    _, dag = dag_of("types", settings)
    kept = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    names = [name for name, _ in kept["dag"]["params"]]
    assert names == ["text", "count", "ratio", "flag", "items", "settings", "nothing", "cores", "needed"]


def test_defaults_of_the_triggers_go_before_those_of_the_ir(settings: Settings) -> None:
    plan = load(PIPELINES / "types.yaml")
    name = next(n for n, p in plan.inputs.items() if p.type == "STRING")
    _, dag = dag_of("types", settings, Triggers(defaults={name: "mine"}))
    assert dag.params[name] == "mine"


@pytest.mark.parametrize(
    ("triggers", "kind"),
    [
        (Triggers(), "NullTimetable"),
        (Triggers(schedule="0 3 * * 1"), "CronTriggerTimetable"),
        (Triggers(assets=(AssetTrigger("fleetml://a"), AssetTrigger("fleetml://b"))), "AssetTriggeredTimetable"),
        (Triggers(schedule="0 3 * * 1", assets=(AssetTrigger("fleetml://a"),)), "AssetOrTimeSchedule"),
    ],
)
def test_schedule_and_assets_become_the_timetable(settings: Settings, triggers: Triggers, kind: str) -> None:
    _, dag = dag_of("branches", settings, triggers)
    assert type(dag.timetable).__name__ == kind
    DagSerialization.to_dict(dag)  # what the DAG processor does with it


def test_retries_come_from_the_ir_then_from_the_triggers(settings: Settings) -> None:
    plan, dag = dag_of("branches", settings, Triggers(retries=4))
    for name, step in plan.steps.items():
        task = dag.get_task(name.replace("/", "."))
        assert task.retries == (step.retry.count or 4)
        assert task.retry_delay == timedelta(seconds=step.retry.delay)


def test_an_emitting_step_has_the_asset_as_outlet(settings: Settings) -> None:
    plan = load(PIPELINES / "branches.yaml")
    name, step = next((n, s) for n, s in plan.steps.items() if s.output_parameters)
    emit = Emit(name, next(iter(step.output_parameters)), "fleetml://drift/x")
    _, dag = dag_of("branches", settings, Triggers(emits=(emit,)))
    assert [asset.uri for asset in dag.get_task(name.replace("/", ".")).outlets] == ["fleetml://drift/x"]


def test_a_step_named_like_a_task_of_ours_is_refused(settings: Settings) -> None:
    plan = load(PIPELINES / "cleanup.yaml")
    step = replace(plan.steps["echo"], name="record")
    with pytest.raises(UnsupportedConstruct, match="'record' is a task of every run"):
        PipelineDag(pipeline=Source(replace(plan, steps={"record": step}), Path("p.yaml"), Triggers(), settings))


class TestLoadDags:
    """A folder of pipelines, as `dags/fleetml_dags.py` hands it over."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("branches", "nested"):
            (tmp_path / "dags" / name).mkdir(parents=True)
            shutil.copy(PIPELINES / f"{name}.yaml", tmp_path / "dags" / name / "pipeline.yaml")
        return tmp_path / "dags"

    def test_each_pipeline_is_a_dag(self, folder: Path, settings: Settings) -> None:
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace, settings)
        names = {load(folder / n / "pipeline.yaml").name.replace("-", "_") for n in ("branches", "nested")}
        assert set(namespace) == names

    def test_a_stranger_s_single_file_is_one_too(self, folder: Path, settings: Settings) -> None:
        shutil.copy(PIPELINES / "types.yaml", folder / "theirs.yaml")
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace, settings)
        assert load(folder / "theirs.yaml").name.replace("-", "_") in namespace

    def test_a_broken_one_leaves_the_others_and_is_named(self, folder: Path, settings: Settings) -> None:
        (folder / "broken").mkdir()
        (folder / "broken/pipeline.yaml").write_text("schemaVersion: 9.9.9\n")
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace, settings)
        assert len(namespace) == 3
        broken = namespace["broken_broken"]
        with pytest.raises(SerializationError) as raised:
            DagSerialization.to_dict(broken)
        assert raised.value.__cause__ is None
        assert str(raised.value).startswith(f"{folder}/broken/pipeline.yaml: schemaVersion must be")
        assert broken.relative_fileloc == str(folder / "broken")

    def test_errors_may_stand_in_a_file_of_their_own(self, folder: Path, settings: Settings) -> None:
        check_dags(folder, settings)
        for name in ("broken", "other"):
            (folder / name).mkdir()
            (folder / name / "pipeline.yaml").write_text("schemaVersion: 9.9.9\n")
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace, settings, errors=False)
        assert set(namespace) == {"branches", "nested"}
        with pytest.raises(InvalidPipeline, match="2 cannot run") as raised:
            check_dags(folder, settings)
        _, *lines = str(raised.value).splitlines()
        assert [line.split("/pipeline.yaml: ")[0] for line in lines] == [f"{folder}/broken", f"{folder}/other"]

    def test_what_the_runner_does_not_honour_is_told_when_it_loads(self, folder: Path, settings: Settings) -> None:
        ir = folder / "nested/pipeline.yaml"
        (label,) = list(yaml.safe_load(ir.read_text())["deploymentSpec"]["executors"])[:1]
        asked = {"kubernetes": {"deploymentSpec": {"executors": {label: {"imagePullPolicy": "Always"}}}}}
        ir.write_text(f"{ir.read_text()}---\n{yaml.safe_dump({'platforms': asked})}")
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace, settings)
        assert f"{label}.imagePullPolicy: imagePullPolicy" in (namespace["broken_nested"].description or "")
        assert "'subprocess'" in (namespace["broken_nested"].description or "")

    def test_no_file_in_the_folder_takes_the_others_down(self, folder: Path, settings: Settings) -> None:
        (folder / "gone.yaml").symlink_to(folder / "nowhere")
        (folder / "my pipeline.yaml").write_text("pipelineInfo: {name: x}\n")
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace, settings)
        assert set(namespace) == {"branches", "nested", "broken_gone", "broken_my_pipeline"}
        assert "gone.yaml" in namespace["broken_gone"].description

    def test_triggers_that_name_what_the_pipeline_lacks_break_it(self, folder: Path, settings: Settings) -> None:
        (folder / "nested/triggers.yaml").write_text("defaults: {no_such_parameter: 1}")
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace, settings)
        assert "no_such_parameter" in namespace["broken_nested"].description

    def test_only_the_dag_a_task_asks_for_is_built(
        self, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "broken").mkdir()
        (folder / "broken/pipeline.yaml").write_text("schemaVersion: 9.9.9\npipelineInfo: {name: other}\n")
        (folder / "unreadable").mkdir()  # comes after the one that is asked for
        (folder / "unreadable/pipeline.yaml").write_text("{")
        monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "nested")
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace, settings)
        assert list(namespace) == ["nested"]

    def test_what_is_no_ir_is_left_alone(self, folder: Path, settings: Settings) -> None:
        (folder / "compose.yaml").write_text("services: {}\n")
        (folder / "notes").mkdir()
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace, settings)
        assert set(namespace) == {"branches", "nested"}

    def test_two_pipelines_of_one_name_are_refused(self, folder: Path, settings: Settings) -> None:
        shutil.copytree(folder / "nested", folder / "twin")
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace, settings)
        assert "nested" in namespace
        assert f"{folder / 'twin'}: " in namespace["broken_twin"].description
        assert f"that of {folder / 'nested'} too" in namespace["broken_twin"].description

    def test_triggers_may_name_the_ir(self, folder: Path, settings: Settings) -> None:
        (folder / "nested/pipeline.yaml").rename(folder / "nested/workflow.yaml")
        (folder / "nested/triggers.yaml").write_text("pipeline: workflow.yaml\nowner: platform\n")
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace, settings)
        assert namespace["nested"].get_task("parameters").owner == "platform"

    def test_what_airflow_refuses_breaks_that_pipeline_alone(self, folder: Path, settings: Settings) -> None:
        (folder / "nested/triggers.yaml").write_text("assets: [{uri: 'postgres://host/no-table'}]\n")
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace, settings)
        assert set(namespace) == {"branches", "broken_nested"}
        assert "Airflow cannot take it as a DAG" in namespace["broken_nested"].description

    def test_outside_a_project_they_load_and_a_step_tells_what_it_lacks(
        self, folder: Path, airflow_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("FLEETML_PROJECT", "FLEETML_HOME"):
            monkeypatch.delenv(name, raising=False)
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace)
        dag = next(iter(namespace.values()))
        settings = dag.get_task("parameters").source.settings
        assert settings.home == airflow_home / "fleetml"
        with pytest.raises(ConfigurationError, match=r"images\.toml, which is missing; write it .*FLEETML_PROJECT"):
            Images(settings.project)

    def test_records_of_a_folder_that_is_a_project_are_kept_out_of_it(
        self, folder: Path, airflow_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("FLEETML_PROJECT", "FLEETML_HOME"):
            monkeypatch.delenv(name, raising=False)
        (folder / "images").mkdir()
        (folder / "images/images.toml").touch()
        namespace: dict[str, Any] = {}
        load_dags(folder, namespace)
        settings = next(iter(namespace.values())).get_task("parameters").source.settings
        assert (settings.project, settings.home) == (folder, airflow_home / "fleetml")

    def test_a_missing_folder_is_said(self, tmp_path: Path, settings: Settings) -> None:
        with pytest.raises(ConfigurationError, match="is none; correct the DAG file"):
            load_dags(tmp_path / "nowhere", {}, settings)


def one_parameter(parameter: Parameter) -> Plan:
    return Plan("p", "0" * 64, {parameter.name: parameter}, {})


def test_a_choice_is_an_enum() -> None:
    param = params(one_parameter(Parameter("size", "STRING", "s", literals=("s", "m"))), Triggers())["size"]
    assert param.schema["enum"] == ["s", "m", None]
    assert param.resolve("m") == "m"
    with pytest.raises(ParamValidationError):
        param.resolve("xl")


def test_a_number_has_the_range_that_its_steps_declare(settings: Settings) -> None:
    plan = load(PIPELINES.parents[1] / "dags/train_forecaster/pipeline.yaml", fold=True)
    made = params(plan, Triggers())
    assert made["horizon"].schema["minimum"] == 1
    assert made["horizon"].resolve(12) == 12
    for name, wrong in (("horizon", 0), ("automl_trials", -1), ("seed", 2**32), ("latency_budget_ms", 0.0)):
        with pytest.raises(ParamValidationError):
            made[name].resolve(wrong)


def test_a_word_is_one_of_those_that_its_steps_know() -> None:
    plan = load(PIPELINES.parents[1] / "dags/train_forecaster/pipeline.yaml", fold=True)
    rollout = params(plan, Triggers())["rollout"]
    assert rollout.schema["enum"] == ["", "canary", "ab", "shadow", None]
    assert (rollout.resolve(), rollout.resolve("shadow")) == ("", "shadow")
    with pytest.raises(ParamValidationError):
        rollout.resolve("cannary")


def test_a_place_of_studies_is_a_journal_or_postgres_without_a_password() -> None:
    storage = params(load(PIPELINES.parents[1] / "dags/train_forecaster/pipeline.yaml", fold=True), Triggers())[
        "study_storage"
    ]
    for place in ("", "/data/journal", "postgresql://fleet@host/studies"):
        assert storage.resolve(place) == place
    for wrong in ("journal", "postgresql://fleet:secret@host/studies"):
        with pytest.raises(ParamValidationError):
            storage.resolve(wrong)


def test_a_parameter_without_default_is_required_unless_an_event_fills_it() -> None:
    plan = one_parameter(Parameter("drift", "STRUCT"))
    required = params(plan, Triggers())["drift"]
    assert not required.has_value
    with pytest.raises(ParamValidationError):
        required.resolve()
    filled = params(plan, Triggers(assets=(AssetTrigger("x://y", {"drift": "features"}),)))["drift"]
    assert filled.resolve() is None
