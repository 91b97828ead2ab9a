"""A pipeline among a team's own operators: what is refused when the DAG is parsed, and what a run makes of it."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow", reason="Airflow lives in the orchestrator environment")

from airflow.sdk import DAG, Asset, BaseOperator, TaskGroup, task_group
from airflow.serialization.serialized_objects import DagSerialization

from fleetml.engines.airflow import PipelineDag, PipelineTaskGroup
from fleetml.engines.airflow.source import record_id
from fleetml.errors import ConfigurationError, FleetMLError, InvalidParameter, UnsupportedConstruct
from fleetml.records import Run

REPOSITORY = Path(__file__).parents[3]
PIPELINES = REPOSITORY / "tests/pipelines"
PUBLISHED = PIPELINES / "published.yaml"


def group(parameters: dict[str, Any], **arguments: Any) -> tuple[DAG, PipelineTaskGroup]:
    with DAG("team", schedule=None) as dag:
        made = PipelineTaskGroup("models", PUBLISHED, parameters, **arguments)
    return dag, made


def test_what_follows_waits_for_the_outputs_what_precedes_is_before_the_parameters() -> None:
    with DAG("team", schedule=None) as dag:
        before, after = BaseOperator(task_id="before"), BaseOperator(task_id="after")
        with TaskGroup("outer"):
            made = PipelineTaskGroup("models", PUBLISHED, {"word": "w"})
        before >> made >> after
        dag.task_group["outer"] >> BaseOperator(task_id="later")
    assert dag.get_task("outer.models.parameters").upstream_task_ids == {"before"}
    assert after.upstream_task_ids == dag.get_task("later").upstream_task_ids == {"outer.models.outputs"}
    record = dag.get_task("outer.models.record")
    assert record.is_teardown
    assert record.on_failure_fail_dagrun
    assert record.downstream_task_ids == set()  # Airflow judges the run by it
    DagSerialization.to_dict(dag)


def test_a_task_whose_output_is_a_parameter_comes_before_the_group() -> None:
    with DAG("team", schedule=None) as dag:
        PipelineTaskGroup("models", PUBLISHED, {"word": BaseOperator(task_id="words").output})
    assert dag.get_task("models.parameters").upstream_task_ids == {"words"}


def test_default_args_reach_the_steps_where_the_pipeline_says_nothing() -> None:
    with DAG("team", schedule=None, default_args={"retries": 3, "pool": "small", "owner": "team", "queue": "q"}) as dag:
        PipelineTaskGroup("models", PUBLISHED, {"word": "w"}, default_args={"pool": "large"})
        PipelineTaskGroup("retried", PIPELINES / "retried.yaml")
    echo, stated = dag.get_task("models.echo"), [t for t in dag.tasks if t.task_id.startswith("retried.")]
    assert (echo.retries, echo.pool, echo.owner, echo.queue) == (3, "large", "team", "q")
    assert {t.retries for t in stated} - {3}  # those that the pipeline states


def test_the_same_pipeline_may_stand_in_a_dag_twice() -> None:
    with DAG("team", schedule=None) as dag:
        for name in ("cpu", "memory"):
            PipelineTaskGroup(name, PUBLISHED, {"word": name})
    assert {"cpu.echo", "memory.echo"} <= set(dag.task_ids)
    ids = {record_id("team", "manual__1", name) for name in ("", "cpu", "memory")}
    assert len(ids) == 3
    assert len({record_id("team", "x" * 300 + end, "cpu") for end in "ab"}) == 2  # cut, and still its own
    assert all(len(record_id("team", "x" * 300, name)) <= 200 for name in ("", "cpu"))


@pytest.mark.parametrize(
    ("parameters", "kind", "message"),
    [
        (
            {"word": "w", "wrod": "w"},
            ConfigurationError,
            r"group 'models': names the parameter 'wrod', which published",
        ),
        ({"word": "w", "wrod": "{{ ds }}"}, InvalidParameter, "no parameter 'wrod'; did you mean 'word'"),
        ({"word": "w", "n": "two"}, InvalidParameter, "must be an integer"),
        ({}, InvalidParameter, "published needs its parameter 'word', which has no default; give it in `parameters`"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_when_the_dag_is_parsed(
    parameters: dict[str, Any], kind: type[FleetMLError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        group(parameters)


def test_a_missing_pipeline_is_named() -> None:
    with DAG("team", schedule=None), pytest.raises(FleetMLError, match=r"nowhere\.yaml"):
        PipelineTaskGroup("models", "nowhere.yaml")


def test_mapping_over_a_group_is_refused() -> None:
    @task_group
    def each(word: str) -> None:
        PipelineTaskGroup("models", PUBLISHED, {"word": word})

    with (
        DAG("team", schedule=None),
        pytest.raises(UnsupportedConstruct, match=r"cannot be mapped over .*dsl\.ParallelFor"),
    ):
        each.expand(word=["a", "b"])


def test_a_pipeline_s_dag_takes_the_usual_arguments_and_defaults_of_its_own() -> None:
    dag = PipelineDag(
        "mine",
        pipeline="../../pipelines/published.yaml",  # as this file sees it
        parameters={"word": "w", "n": 7},
        schedule=[Asset("fleetml://types")],
        max_active_runs=4,
        tags=["team"],
        default_args={"retries": 2},
    )
    assert (dag.dag_id, dag.max_active_runs, dag.tags) == ("mine", 4, {"team"})
    assert (dag.params["word"], dag.params["n"]) == ("w", 7)
    assert (dag.get_task("echo").retries, dag.get_task("echo").owner) == (2, "fleetml")
    assert [asset.name for asset in dag.get_task("record").outlets] == ["fleetml://published"]
    DagSerialization.to_dict(dag)
    with pytest.raises(ConfigurationError, match="names the parameter 'wrod'"):
        PipelineDag(pipeline=PUBLISHED, parameters={"wrod": "w"})


TEAM = """
from pathlib import Path
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task
from fleetml.engines.airflow import PipelineTaskGroup

with DAG("team", schedule=None, params={"n": 2, "ready": True}) as dag:

    @task(multiple_outputs=True)
    def numbers(params=None):
        return {"n": params["n"]}

    @task.short_circuit
    def ready(params=None):
        return params["ready"]

    @task
    def use(said, numbers, data, whole):
        print(said)
        assert Path(data["uri"]).read_text() == said and len(data["digest"]) == 64
        assert whole == {"said": said, "numbers": numbers, "data": data}
        return [said, numbers]

    given = numbers()
    first = PipelineTaskGroup(
        "first", "pipeline", {"word": "{{ dag_run.dag_id }} of {{ params.n }}", "n": given["n"]}
    )
    second = PipelineTaskGroup("second", "pipeline/pipeline.yaml", {"n": "{{ params.n + 1 }}"})
    ready() >> second
    out = first.output
    used = use(out["said"], out["numbers"], out["data"], out)
    first >> second >> EmptyOperator(task_id="after")
"""


def test_the_example_of_the_readme_is_a_dag(
    tmp_path: Path, airflow_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLEETML_PROJECT", str(REPOSITORY))
    text = (REPOSITORY / "README.md").read_text()
    example = text[text.index("    from airflow.providers.standard") : text.index("A step runs where")]
    shutil.copytree(REPOSITORY / "dags/train_forecaster", tmp_path / "dags/train_forecaster")
    (tmp_path / "dags/weekly.py").write_text(textwrap.dedent(example))
    bag = DagBag(str(tmp_path / "dags"), bundle_name="dags-folder", bundle_path=tmp_path / "dags")
    assert not bag.import_errors
    tasks = bag.dags["weekly"].task_dict
    assert tasks["train.parameters"].upstream_task_ids == {"export"}
    assert tasks["announce"].upstream_task_ids == {"train.outputs"}


@pytest.fixture(scope="module")
def project(airflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project whose one image is this very environment, with a team's DAG file beside a pipeline."""
    root = tmp_path_factory.mktemp("project")
    (root / "images").mkdir()
    (root / "lock.txt").touch()
    table = f'[images."fleetml/ml"]\nvenv = "{sys.prefix}"\nlocks = ["lock.txt"]\ncode = []\n'
    (root / "images/images.toml").write_text(table)
    (root / "dags/pipeline").mkdir(parents=True)
    shutil.copy(PUBLISHED, root / "dags/pipeline/pipeline.yaml")
    (root / "dags/pipeline/triggers.yaml").write_text(
        'defaults: {word: "of the triggers", n: 1}\nschedule: "0 3 * * *"\n'
    )
    (root / "dags/team.py").write_text(TEAM)
    return root


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs the team's DAG by Airflow's own task code: its run, the states of its tasks."""
    monkeypatch.setenv("FLEETML_PROJECT", str(project))
    monkeypatch.delenv("FLEETML_HOME", raising=False)

    def go(**conf: Any) -> tuple[Any, dict[str, str]]:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

        bag = DagBag(str(project / "dags"), bundle_name="dags-folder", bundle_path=project / "dags")
        assert not bag.import_errors
        sync_bag_to_db(bag, "dags-folder", None)
        done = bag.dags["team"].test(run_conf=conf, use_executor=False)
        return done, {task.task_id: str(task.state) for task in done.get_task_instances()}

    return go


def records(project: Path, done: Any, group: str) -> Run:
    return Run(project / ".fleetml", record_id(done.dag_id, done.run_id, group))


def test_a_group_hands_its_outputs_to_a_team_s_own_tasks(project: Path, run: Any) -> None:
    done, states = run()
    assert str(done.state) == "success", states
    assert states["use"] == states["after"] == states["first.outputs"] == states["second.record"] == "success"
    first, second = records(project, done, "first").read(), records(project, done, "second").read()
    assert first["parameters"] == {"word": "team of 2", "n": 2}
    assert second["parameters"] == {"word": "of the triggers", "n": 3}
    assert first["state"] == second["state"] == "succeeded"
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    with create_session() as session:
        events = session.query(AssetEvent).filter_by(source_run_id=done.run_id).all()
        told = {event.source_task_id: event.extra for event in events if event.uri == "fleetml://published/"}
    assert told["first.outputs"]["said"] == "team of 2"
    assert told["second.outputs"]["numbers"] == [0, 1, 2]


def test_a_failed_step_fails_what_follows_the_group_and_the_run(project: Path, run: Any) -> None:
    done, states = run(n=0)
    assert str(done.state) == "failed"
    assert states["first.refuse-zero"] == states["first.outputs"] == states["first.record"] == "failed"
    assert states["first.echo"] == "success"
    assert states["use"] == states["second.parameters"] == states["after"] == "upstream_failed"
    assert records(project, done, "first").read()["state"] == "failed"
    assert not records(project, done, "second").exists()


def test_a_group_that_a_team_s_task_skips_is_skipped(project: Path, run: Any) -> None:
    done, states = run(ready=False)
    assert str(done.state) == "success"
    assert {state for task, state in states.items() if task.startswith("second.")} == {"skipped"}
    assert states["after"] == "skipped"
    assert states["use"] == "success"
    assert not records(project, done, "second").exists()
