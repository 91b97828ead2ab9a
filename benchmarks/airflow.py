"""Airflow: a pipeline's DAG beside the same DAG by hand, and how long a DAG file of twenty pipelines takes to parse.

By hand: ten Python commands like those of the pipeline (a chain of five, a fan-out of four, a join) as BashOperators
that hand their results on by XCom; then the same with a first and a last task, as a DAG has that checks its parameters and
tells how it ended (why ours keeps those two stands in docs/adr/0003). Once they are trivial, once they take a second each.
Takes five minutes, of which Airflow's start is one.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from benchmarks.goals import Figure, judged
from fleetml.settings import Settings
from fleetml.stack import airflow, ports, processes
from fleetml.stack.airflow_client import FINAL, AirflowClient

ROOT = Path(__file__).parents[1]
ORCHESTRATOR = ROOT / ".venv/orchestrator"
ROUNDS = 5
GOALS = {
    "ten trivial steps, generated / by hand": 1.1,
    "ten steps of 1 s, generated / by hand": 1.1,
    "parsing a file of 20 pipelines, median": 0.5,
}
SLOW = '"import pathlib, sys, time; time.sleep(1); '
PIPELINES = 20
TABLE = """[images."fleetml/ml"]
venv = "{ml}"
locks = ["lock.txt"]

[images."fleetml/orchestrator"]
venv = "{orchestrator}"
locks = ["lock.txt"]
"""
TEN = """
from kfp import dsl

WRITE = (
    "import pathlib, sys; p = pathlib.Path(sys.argv[1]); "
    "p.parent.mkdir(parents=True, exist_ok=True); p.write_text(sys.argv[2])"
)


@dsl.container_component
def echo(text: str, out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", WRITE], args=[out, text])


@dsl.container_component
def join(a: str, b: str, c: str, d: str, out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", WRITE], args=[out, a])


@dsl.pipeline(name="ten")
def ten(seed: str = ""):
    last = echo(text=seed)
    for number in range(4):
        last = echo(text=f"{last.outputs['out']}{number}")
    fan = [echo(text=f"{last.outputs['out']}-{number}") for number in range(4)]
    join(**{name: task.outputs["out"] for name, task in zip("abcd", fan)})
"""
HAND = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

PYTHON = {python!r}


def step(name, text, seconds):
    code = f"import time; time.sleep({{seconds}}); print('{{text}}')"
    return BashOperator(task_id=name, bash_command=f'"{{PYTHON}}" -c "{{code}}"')


def ten(name, seconds, framed):
    with DAG(name, schedule=None, params={{"seed": ""}}, max_active_runs=1) as dag:
        last = step("echo", "{{{{ params.seed }}}}", seconds)
        if framed:
            @task
            def check(params):
                return dict(params)

            check() >> last
        for number in range(4):
            before, last = last, step(f"echo-{{number + 2}}", "{{{{ ti.xcom_pull(task_ids='%s') }}}}%s" % (last.task_id, number), seconds)
            before >> last
        pulled = "{{{{ ti.xcom_pull(task_ids='%s') }}}}" % last.task_id
        fan = [step(f"echo-{{number + 6}}", f"{{pulled}}-{{number}}", seconds) for number in range(4)]
        end = step("join", "{{{{ ti.xcom_pull(task_ids='echo-6') }}}}", seconds)
        last >> fan >> end
        if framed:
            @task(trigger_rule="all_done")
            def tell(dag_run):
                print(dag_run.run_id)

            end >> tell()
    return dag


by_hand, framed = ten("by_hand", 0, False), ten("by_hand_framed", 0, True)
by_hand_slow, framed_slow = ten("by_hand_slow", 1, False), ten("by_hand_framed_slow", 1, True)
"""
PARSE = """
import sys, time
from airflow.dag_processing.dagbag import DagBag
began = time.perf_counter()
bag = DagBag(sys.argv[1], bundle_name="b", bundle_path=sys.argv[1])
assert len(bag.dags) == int(sys.argv[2]) and not bag.import_errors, bag.import_errors
print(time.perf_counter() - began)
"""


def run() -> Iterator[Figure]:
    """Yield times of whole runs (medians, as Airflow states them), their ratios, and of parsing."""
    yield from judged(_figures(), GOALS)


def _figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        yield from _parsing(root / "parse")
        yield from _runs(root / "project")


def _compiled(target: Path, name: str, text: str) -> None:
    from fleetml.compiler import compile_pipeline

    target.mkdir(parents=True)
    source = target / "pipeline.py"
    source.write_text(text.replace('name="ten"', f'name="{name}"'))
    compile_pipeline(source)
    source.unlink()


def _project(root: Path) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "lock.txt").touch()
    (root / "images/images.toml").write_text(TABLE.format(ml=sys.prefix, orchestrator=ORCHESTRATOR))
    dags = root / "dags"
    dags.mkdir()
    for file in ("fleetml_dags.py", "fleetml_errors.py", ".airflowignore"):
        shutil.copy(ROOT / "dags" / file, dags)
    return dags


def _parsing(root: Path) -> Iterator[Figure]:
    """Parse twenty copies of the largest pipeline of ours, each under a name of its own.

    As Airflow's DAG processor does: each of our two files (the DAGs, and the errors of those that cannot be) in a process of
    its own each time.
    """
    dags = _project(root)
    text = (ROOT / "dags/train_forecaster/pipeline.yaml").read_text()
    for number in range(PIPELINES):
        (dags / f"train_{number}").mkdir()
        named = text.replace("name: train-forecaster", f"name: train-{number}")
        (dags / f"train_{number}/pipeline.yaml").write_text(named)
    env = {
        **os.environ,
        "AIRFLOW_HOME": f"{root}/airflow",
        "FLEETML_PROJECT": str(root),
        "FLEETML_HOME": f"{root}/home",
    }
    for file, count, what in (
        ("fleetml_dags.py", PIPELINES, f"parsing a file of {PIPELINES} pipelines"),
        ("fleetml_errors.py", 0, f"checking {PIPELINES} pipelines for errors"),
    ):
        command = [str(ORCHESTRATOR / "bin/python"), "-c", PARSE, str(dags / file), str(count)]
        taken = []
        for _ in range(ROUNDS + 1):
            done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
            taken.append(float(done.stdout.split()[-1]))
        yield f"{what}, first time", taken[0], "s"
        yield f"{what}, median", statistics.median(taken[1:]), "s"


def _runs(root: Path) -> Iterator[Figure]:
    dags = _project(root)
    _compiled(dags / "ten", "ten", TEN)
    _compiled(dags / "ten_slow", "ten-slow", TEN.replace('"import pathlib, sys; ', SLOW))
    (dags / "hand.py").write_text(HAND.format(python=sys.executable))
    settings = Settings.from_environment({"FLEETML_PROJECT": str(root)})
    service = airflow.start(settings, ports.free())
    try:
        processes.wait_until(lambda: airflow.ready(service), 180)
        client = AirflowClient(service.address, service.details["login"], airflow.password(service))
        for kind, rounds in (("", ROUNDS), ("_slow", 2)):
            names = [f"{name}{kind}" for name in ("ten", "by_hand", "by_hand_framed")]
            for name in names:
                client.wait_for_dag(name)
                _once(client, name, "warm-up")
            rows = [[_once(client, name, f"{number}") for name in names] for number in range(rounds)]
            ours, hand, framed = (statistics.median(column) for column in zip(*rows, strict=True))
            what = "ten steps of 1 s" if kind else "ten trivial steps"
            yield f"{what}, generated", ours, "s"
            yield f"{what}, by hand", hand, "s"
            yield f"{what}, by hand with a first and a last task", framed, "s"
            yield f"{what}, generated / by hand", ours / hand, "x"
            yield f"{what}, generated / by hand, first and last", ours / framed, "x"
    finally:
        airflow.stop(service)
        processes.sweep(settings.home)


def _once(client: AirflowClient, dag: str, seed: str) -> float:
    """Run a DAG; return how long its run took, as Airflow states it [s]."""
    run_id = client.trigger(dag, {"seed": seed})
    while (found := client.call("GET", f"dags/{dag}/dagRuns/{run_id}"))["state"] not in FINAL:
        time.sleep(0.3)
    if found["state"] == "failed":
        raise RuntimeError(f"{dag} failed")
    began, ended = (datetime.fromisoformat(found[key]) for key in ("start_date", "end_date"))
    return (ended - began).total_seconds()
