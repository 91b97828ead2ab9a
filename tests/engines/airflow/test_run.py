"""Pipelines run by Airflow's own task code (``DAG.test``, one process, a real database) with real step processes."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("airflow", reason="Airflow lives in the orchestrator environment")

from fleetml import tracing
from fleetml.engines import local
from fleetml.engines.airflow.source import record_id
from fleetml.outbox import Outbox
from fleetml.pipeline import load
from fleetml.records import Run
from fleetml.settings import Settings
from tests.lineage import events
from tests.small_pipelines import write
from tests.tracing.receiver import receiving

if TYPE_CHECKING:
    from tests.cluster import Cluster
    from tests.containers import Containers

PIPELINES = Path(__file__).parents[2] / "pipelines"
DAG_FILE = """
from pathlib import Path
from fleetml.engines.airflow import load_dags
load_dags(Path(__file__).parent, globals())  # airflow dag
"""


@pytest.fixture(scope="session")
def project(airflow_home: Path) -> Path:
    """Return a project whose one image is this very environment, its pipelines in Airflow's DAG folder."""
    (airflow_home / "images").mkdir()
    venv = Path(sys.prefix)
    (airflow_home / "lock.txt").touch()
    (airflow_home / "images/images.toml").write_text(
        f'[images."fleetml/ml"]\nvenv = "{venv}"\nlocks = ["lock.txt"]\ncode = []\n'
    )
    for name in ("branches", "cleanup", "loop", "loop_fails", "nested", "types"):
        (airflow_home / "dags" / name).mkdir()
        shutil.copy(PIPELINES / f"{name}.yaml", airflow_home / "dags" / name / "pipeline.yaml")
    (airflow_home / "dags/dags.py").write_text(DAG_FILE)
    return airflow_home


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs one pipeline with a conf: its DAG run, and the record of the run."""
    monkeypatch.setenv("FLEETML_PROJECT", str(project))
    settings = Settings.from_environment()

    def go(name: str, triggers: str = "", **conf: Any) -> tuple[Any, Run]:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

        place = project / "dags" / name / "triggers.yaml"
        place.write_text(triggers)
        bag = DagBag(str(project / "dags"), bundle_name="dags-folder", bundle_path=project / "dags")
        assert not bag.import_errors
        sync_bag_to_db(bag, "dags-folder", None)
        dag = next(d for d in bag.dags.values() if d.dag_id.replace("_", "-") in (name, name.replace("_", "-")))
        done = dag.test(run_conf=conf or None, use_executor=False)
        return done, Run(settings.home, record_id(done.dag_id, done.run_id))

    return go


def states(done: Any) -> dict[str, str]:
    return {task.task_id: str(task.state) for task in done.get_task_instances()}


@pytest.mark.parametrize("name", ["branches", "cleanup"])
def test_lineage_is_that_of_the_local_engine(
    run: Any, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("openlineage.client")
    monkeypatch.setenv("FLEETML_CACHE", "none")
    here, there = tmp_path / "local", tmp_path / "airflow"
    events.into(monkeypatch, there)
    _, record = run(name)
    events.into(monkeypatch, here)
    settings = replace(Settings.from_environment(), home=tmp_path / "home")
    path = settings.project / "dags" / name / "pipeline.yaml"
    plan = load(path)
    local.run(local.Job(plan, path, plan.bind({}), "r"), settings)
    found = events.read(there)
    assert len(found) > 5
    for event in found:
        events.check(event)
    assert events.comparable(found) == events.comparable(events.read(here))
    for step, attempt in record.latest().items():
        if attempt.state == "succeeded":
            assert (attempt.usage or {})["cpu_seconds"] > 0, step
            assert (attempt.usage or {})["max_rss_bytes"] > 1_000_000, step


def test_what_steps_and_run_cost_stands_among_the_xcoms_and_a_budget_ends_it(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETML_CACHE", "none")
    monkeypatch.setenv("FLEETML_COST_REGION", "us-west-2")
    done, record = run("cleanup", "budget: {run: {kwh: 1.0e-12, stop: true}}\n")
    told = {task.task_id: task.xcom_pull(task_ids=task.task_id, key="cost") for task in done.get_task_instances()}
    ran = {step: attempt for step, attempt in record.latest().items() if (attempt.usage or {}).get("wall_seconds")}
    assert len(ran) >= 1
    for step, attempt in ran.items():
        assert told[step] == attempt.cost
        assert (attempt.cost or {})["region"] == "us-west-2"
    assert told["record"] == record.read()["cost"]
    assert told["record"]["kwh"] == pytest.approx(sum((attempt.cost or {})["kwh"] for attempt in ran.values()))
    refused = [a.failure["type"] for a in record.latest().values() if a.failure]
    assert "OverBudget" in refused


def test_tasks_and_their_run_are_one_trace(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as (address, got):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        tracing._provider.cache_clear()
        monkeypatch.setattr(tracing, "_outbox", Outbox("traces", tracing._load))
        _, record = run("cleanup")
    named = {span.name: span for _, span in got}
    ran = {step for step, attempt in record.latest().items() if attempt.state in ("succeeded", "failed")}
    assert set(named) == {"cleanup", *ran}
    assert {span.trace_id for span in named.values()} == {named["cleanup"].trace_id}
    assert {named[step].parent_span_id for step in ran} == {named["cleanup"].span_id}


def test_results_travel_by_the_store(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLEETML_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("FLEETML_CACHE", "none")
    done, record = run("types")
    assert str(done.state) == "success"
    outcomes = [attempt.outcome or {} for attempt in record.latest().values()]
    uris = [item["uri"] for outcome in outcomes for items in outcome["artifacts"].values() for item in items]
    assert uris
    assert all(uri.startswith(f"file://{tmp_path}/store/") for uri in uris)


def test_the_branch_that_holds_runs_and_the_others_are_skipped(run: Any) -> None:
    done, record = run("branches", size=20, heads=False)
    assert str(done.state) == "success"
    latest = record.latest()
    assert record.read()["state"] == "succeeded"
    ran = {step for step, attempt in latest.items() if attempt.state == "succeeded"}
    skipped = {step: attempt.reason for step, attempt in latest.items() if attempt.state == "skipped"}
    assert any("big" in (latest[s].outcome or {})["parameters"].get("out", "") for s in ran)
    assert skipped
    assert all(reason for reason in skipped.values())
    shown = states(done)
    assert all(shown[step.replace("/", ".")] == "skipped" for step in skipped)


def test_a_second_run_reuses_what_the_first_computed(run: Any) -> None:
    run("nested")
    _, record = run("nested")
    cacheable = [a for a in record.latest().values() if a.state == "succeeded" and a.key]
    assert cacheable
    assert all(attempt.cached for attempt in cacheable)


def test_a_failed_step_fails_the_run_and_what_follows(run: Any) -> None:
    done, record = run("cleanup")
    assert str(done.state) == "failed"
    assert record.read()["state"] == "failed"
    found = {attempt.state for attempt in record.latest().values()}
    assert {"failed", "succeeded"} <= found  # the clean-up ran


@pytest.mark.parametrize("n", [2, 0])
def test_iterations_of_a_list_made_in_the_run_are_mapped(run: Any, n: int) -> None:
    done, record = run("loop", n=n)
    assert str(done.state) == "success", states(done)
    instances = [t for t in done.get_task_instances() if t.task_id == "for-loop-4.0.for-loop-5.iteration"]
    assert len(instances) == max(n, 1)
    latest = record.latest()
    assert (latest["total-2"].outcome or {})["parameters"]["out"] == ('[["0","1"],["0","1"]]' if n else "[[],[]]")
    assert (latest["many/join"].outcome or {})["parameters"]["out"] == "a+b"
    assert latest["many/for-loop-1/0/condition-2/echo"].state == "skipped"


def test_a_failed_iteration_fails_the_loop_and_the_others_go_on(run: Any) -> None:
    done, record = run("loop_fails")
    assert str(done.state) == "failed"
    mapped = {t.map_index: str(t.state) for t in done.get_task_instances() if t.task_id == "for-loop-1.iteration"}
    assert mapped == {0: "failed", 1: "success"}
    found = {step: attempt.state for step, attempt in record.latest().items()}
    assert found["for-loop-1/1/echo"] == "succeeded"
    assert found["for-loop-1/0/echo"] == found["total"] == "upstream_failed"


def test_parameters_of_the_wrong_type_start_no_step(run: Any) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match="size"):
        run("branches", size="many")


def test_what_is_given_by_hand_goes_before_the_triggers(run: Any) -> None:
    _, record = run("branches", triggers="defaults: {size: 11, word: plain}", word="mine")
    parameters = record.read()["parameters"]
    assert (parameters["size"], parameters["word"]) == (11, "mine")


def test_an_unknown_parameter_is_refused_before_the_first_step(run: Any) -> None:
    done, record = run("branches", siz=3)
    assert str(done.state) == "failed"
    assert states(done)["flip"] == "upstream_failed"
    assert not record.exists()


def test_an_emitting_step_sends_its_output_with_the_event(run: Any) -> None:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    done, record = run(
        "types", triggers="emits: [{step: make, output: table, asset: 'x://drift/cpu'}]", settings={"cpu": 0.4}
    )
    assert str(done.state) == "success"
    with create_session() as session:
        events = session.query(AssetEvent).filter_by(source_run_id=done.run_id).all()
        assert {event.uri: event.extra for event in events} == {
            "x://drift/cpu": {"cpu": 0.4},
            "fleetml://types/": {"Output": (record.latest()["use"].outcome or {})["parameters"]["out"]},
        }


def test_what_a_step_told_the_registry_is_a_button_of_its_task(run: Any, project: Path) -> None:
    """What the registry answered stands in the step's metrics; a step that has no registry has no button."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    tell = (
        "import json, sys; given = json.loads(sys.argv[1]); (kept,) = given['outputs']['artifacts']['metrics']['artifacts'];"
        "place = given['inputs']['parameterValues']['registry'] + '/#/experiments/1/runs/2/artifacts/report.html';"
        "kept['metadata'] = {'score': 0.4, 'mlflow': place};"
        "open(given['outputs']['outputFile'], 'w').write(json.dumps({'artifacts': {'metrics': {'artifacts': [kept]}}}))"
    )
    metrics = {"artifactType": {"schemaTitle": "system.Metrics", "schemaVersion": "0.0.1"}}
    registry = {"parameterType": "STRING", "defaultValue": "http://mlflow:5000", "isOptional": True}
    component = {
        "inputDefinitions": {"parameters": {"registry": registry}},
        "outputDefinitions": {"artifacts": {"metrics": metrics}},
    }
    executor = {"container": {"image": "fleetml/ml", "command": ["python", "-c", tell], "args": ["{{$}}"]}}
    other = {"container": {"image": "fleetml/ml", "command": ["python", "-c", "1"]}}
    folder = project / "dags" / "p"
    folder.mkdir()
    try:
        tasks = {"publish": {}, "other": {}}
        write(
            folder / "pipeline.yaml", tasks, {"publish": component, "other": {}}, {"publish": executor, "other": other}
        )
        done, _ = run("p")
    finally:
        shutil.rmtree(folder)
    assert states(done)["publish"] == "success"
    links = {task.task_id: [link.name for link in task.operator_extra_links] for task in done.dag.tasks}
    assert (links["publish"], links["other"]) == (["MLflow"], [])
    with create_session() as session:
        (link,) = session.scalars(XComModel.get_many(run_id=done.run_id, key="_link_ReportLink"))
        assert XComModel.deserialize_value(link) == "http://mlflow:5000/#/experiments/1/runs/2/artifacts/report.html"


def test_steps_are_pods_where_the_settings_say_so(
    run: Any, project: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a stand-in for a cluster (tests/cluster)."""
    from tests.cluster import IMAGE

    table = project / "images/images.toml"
    known = table.read_text()
    registry, _, digest = IMAGE.partition("@")
    monkeypatch.setenv("FLEETML_RUNNER", "kubernetes")
    monkeypatch.setenv("FLEETML_CACHE", "none")
    table.write_text(f'{known}registry = "{registry}"\ndigest = "{digest}"\n')
    try:
        done, record = run("nested")
    finally:
        table.write_text(known)
    assert str(done.state) == "success"
    ran = [step for step, attempt in record.latest().items() if attempt.state == "succeeded"]
    assert len(cluster.created) == len(ran) > 0
    assert not cluster.pods


def test_steps_are_containers_where_the_settings_say_so(
    run: Any, project: Path, containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (PIPELINES / "types.yaml").read_text().replace("fleetml/ml", containers.reference)
    (project / "dags/contained").mkdir()
    (project / "dags/contained/pipeline.yaml").write_text(text.replace("name: types", "name: contained"))
    monkeypatch.setenv("FLEETML_RUNNER", "docker")
    monkeypatch.setenv("FLEETML_MOUNTS", ":".join(map(str, containers.mounts)))
    try:
        done, record = run("contained")
    finally:
        shutil.rmtree(project / "dags/contained")
    assert str(done.state) == "success"
    assert {step: attempt.state for step, attempt in record.latest().items()} == {
        "make": "succeeded",
        "use": "succeeded",
    }
