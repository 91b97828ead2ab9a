"""How many of KFP's own compiled test pipelines load and run here: ``python -m benchmarks.kfp_pipelines FOLDER [--airflow]``.

FOLDER is ``test_data/sdk_compiled_pipelines`` of a checkout of kubeflow/pipelines. Each IR is loaded, then run to its end on the
local engine and, with ``--airflow``, in a real Airflow of its own. Strangers' images that hold nothing but Python or a
shell run in .venv/ml. Prints a Markdown table; docs/kfp-pipelines.md is what it printed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fleetml.errors import FleetMLError
from fleetml.pipeline import Plan, load
from fleetml.settings import Settings

ROOT = Path(__file__).parents[1]
TABLE = """[images."fleetml/ml"]
venv = "{root}/.venv/ml"
locks = ["{root}/images/ml/requirements.txt"]

[images."fleetml/orchestrator"]
venv = "{root}/.venv/orchestrator"
locks = ["{root}/images/orchestrator/requirements.txt"]

[aliases]
"python:3*" = "fleetml/ml"
"python:alpine*" = "fleetml/ml"
"*python:3.12" = "fleetml/ml"
"*/ubi9/python-311*" = "fleetml/ml"
"alpine*" = "fleetml/ml"
"*busybox" = "fleetml/ml"
"library/bash" = "fleetml/ml"
"""
DAGS = "from pathlib import Path\nfrom fleetml.engines.airflow import load_dags\nload_dags(Path(__file__).parent, globals())  # airflow dag\n"
SECONDS = 600.0
PLAIN = {
    "STRING": "text",
    "NUMBER_INTEGER": 3,
    "NUMBER_DOUBLE": 0.5,
    "BOOLEAN": True,
    "LIST": [1, 2],
    "STRUCT": {"a": 1},
}
# The secrets that KFP's own tests put into their cluster.
SECRETS = {
    "FLEETML_SECRET_TEST_SECRET_1_USERNAME": "user1",
    "FLEETML_SECRET_TEST_SECRET_2_PASSWORD": "psw1",
    "FLEETML_SECRET_TEST_SECRET_3_PASSWORD": "psw2",
}
GIVEN: Mapping[str, Mapping[str, Any]] = {
    "env-var": {"env_var": "HOME"},
    "take_nap_compiled": {"naptime_secs": 1},
    "take_nap_pipeline_root_compiled": {"naptime_secs": 1},
}
FAILS = (
    "fail_v2",
    "pipeline_with_exit_handler",
    "pipeline_with_multiple_exit_handlers",
    "local_execution_pipeline_with_ignore_upstream_failure",
    "pipeline_as_exit_task",
    "pipeline_with_task_final_status",
    "pipeline_with_task_using_ignore_upstream_failure",
)
_MADE_UP = "its image, or the program in it, is made up"
_BUCKET = "reads a public bucket that cannot be reached here"
_GIVES_AWAY = "gives a secret out as an output, which is refused"
NEEDS = {
    "component_with_task_final_status_GH-12033": "an exit task by itself: there is no status to tell it",
    "container_io": _MADE_UP,
    "container_with_artifact_output": _MADE_UP,
    "container_with_concat_placeholder": _MADE_UP,
    "container_with_if_placeholder": _MADE_UP,
    "container_with_placeholder_in_fstring": _MADE_UP,
    "containerized_python_component": _MADE_UP,
    "pipeline_with_importer_and_gcpc_types": _MADE_UP,
    "pipeline_with_various_io_types": _MADE_UP,
    "modelcar": "needs a model image (oci://)",
    "nested_parallel_for_secret": _GIVES_AWAY,
    "parallel_for_secret": _GIVES_AWAY,
    "pipeline_with_artifact_upload_download": "downloads from Hugging Face, which cannot be reached here",
    "pipeline_with_concat_placeholder": "needs the [[ of Alpine's shell",
    "pipeline_with_google_artifact_type": "installs the package aiplatform, which the index here does not have",
    "pipeline_with_importer": _BUCKET,
    "pipeline_with_input_status_state": "expects the state COMPLETE, where KFP's documentation says SUCCEEDED",
    "pythonic_artifact_with_single_return": _BUCKET,
    "ray_integration_compiled": "needs a Ray operator in the cluster",
    "upload_download_compiled": "looks into the cluster's own object store",
}


@dataclass
class Found:
    """One IR: what it is called, and what became of it on each engine."""

    name: str
    plan: Plan | None
    reason: str = ""
    states: dict[str, str] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        return Path(self.name).stem


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--airflow", action="store_true")
    parser.add_argument("--only", default="", help="a part of the name")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        settings = project(Path(place))
        files = sorted(path for path in args.folder.rglob("*.yaml") if args.only in path.name)
        found = [loaded(path, args.folder) for path in files]
        paths = [renamed(args.folder / one.name, settings, one.name) for one in found if one.plan]
        runnable = dict(zip(paths, (one for one in found if one.plan), strict=True))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda path: run_locally(path, runnable[path], settings), paths))
        if args.airflow:
            run_in_airflow(runnable, settings)
    report(found)
    return 0


def project(place: Path) -> Settings:
    (place / "images").mkdir()
    (place / "images/images.toml").write_text(TABLE.format(root=ROOT))
    (place / "dags").mkdir()
    (place / "given.txt").write_text("an artifact from outside\n")
    return Settings.from_environment({"FLEETML_PROJECT": str(place)})


def loaded(path: Path, folder: Path) -> Found:
    name = path.relative_to(folder).as_posix()
    try:
        return Found(name, load(path))
    except FleetMLError as error:
        return Found(name, None, str(error).removeprefix(f"{path}: "))


def renamed(path: Path, settings: Settings, name: str) -> Path:
    """Copy an IR, under a name of its own where another has its name already: it is a DAG's id."""
    documents = [document for document in yaml.load_all(path.read_text(), yaml.CSafeLoader) if document]
    info = documents[0]["pipelineInfo"]
    target = settings.project / "dags" / f"{info['name']}.yaml"
    if target.exists():
        info["name"] = re.sub(r"[^a-z0-9]+", "-", f"{info['name']}-{Path(name).stem}".lower())[-100:].strip("-")
        target = settings.project / "dags" / f"{info['name']}.yaml"
    target.write_text(yaml.safe_dump_all(documents))
    return target


def parameters(one: Found, settings: Settings, engine: str) -> dict[str, Any]:
    """Return something for every parameter without a default."""
    assert one.plan
    given: dict[str, Any] = dict(GIVEN.get(one.stem, {}))
    for name, parameter in one.plan.inputs.items():
        if not parameter.required or name in given:
            continue
        if parameter.description.startswith("URI of "):
            given[name] = str(settings.project / "given.txt")
        elif name.endswith("_path"):
            given[name] = str(settings.project / f"{engine}-{one.stem}")
        else:
            given[name] = parameter.literals[0] if parameter.literals else PLAIN[parameter.type]
    return given


def run_locally(path: Path, one: Found, settings: Settings) -> None:
    assert one.plan
    file = path.with_suffix(".parameters")
    file.write_text(yaml.safe_dump(parameters(one, settings, "local")))
    environ = {**os.environ, **SECRETS, "FLEETML_PROJECT": str(settings.project)}
    command = [sys.executable, "-m", "fleetml", "run", str(path), "--params", str(file)]
    try:
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        one.states["local"], one.reason = "too long", f"runs for more than {SECONDS:.0f} s"
        return
    one.states["local"] = {0: "succeeded", 1: "failed"}.get(done.returncode, f"exit {done.returncode}")
    if done.returncode:
        one.reason = next((line for line in done.stderr.splitlines() if line.strip()), "")
        if one.reason.startswith("error: "):
            one.states["local"] = "refused"
    print(f"local    {one.states['local']:<10} {one.name}", file=sys.stderr, flush=True)


def run_in_airflow(runnable: Mapping[Path, Found], settings: Settings) -> None:
    from fleetml.stack import airflow, ports, processes
    from fleetml.stack.airflow_client import AirflowClient

    os.environ.update(SECRETS)
    (settings.project / "dags/pipelines.py").write_text(DAGS)
    service = airflow.start(settings, ports.free())
    try:
        assert processes.wait_until(lambda: airflow.ready(service), 180), "Airflow does not start"
        client = AirflowClient(service.address, service.details["login"], airflow.password(service))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda item: _one_in_airflow(client, *item, settings), runnable.items()))
    finally:
        airflow.stop(service)
        processes.sweep(settings.home)


def _one_in_airflow(client: Any, path: Path, one: Found, settings: Settings) -> None:
    assert one.plan
    dag_id = path.stem.replace("-", "_")
    try:
        client.wait_for_dag(dag_id, 120)
        run_id = client.trigger(dag_id, parameters(one, settings, "airflow"))
        deadline = time.monotonic() + SECONDS
        for _ in client.follow(dag_id, run_id):
            if time.monotonic() > deadline:
                break
        one.states["airflow"] = {"success": "succeeded"}.get(state := client.state(dag_id, run_id), state)
    except FleetMLError as error:
        one.states["airflow"] = "refused"
        one.reason = one.reason or str(error)
    print(f"airflow  {one.states['airflow']:<10} {one.name}", file=sys.stderr, flush=True)


def report(found: list[Found]) -> None:
    engines = list(dict.fromkeys(engine for one in found for engine in one.states))
    print(f"{len(found)} pipelines, {sum(one.plan is not None for one in found)} load.  ")
    for engine in engines:
        counts = Counter(one.states.get(engine, "") for one in found if one.plan)
        print(f"{engine}: {', '.join(f'{count} {state}' for state, count in counts.most_common())}.  ")
    print(f"\n| pipeline | loads | {' | '.join(engines)} | why not |\n|---|---|{'---|' * len(engines)}---|")
    for one in found:
        cells = [one.name, "yes" if one.plan else "refused", *(one.states.get(engine, "") for engine in engines)]
        meant = one.stem in FAILS and set(one.states.values()) == {"failed"}
        well = set(one.states.values()) == {"succeeded"}
        why = "is to fail" if meant else "" if well else NEEDS.get(one.stem) or shortened(one.reason)
        print(f"| {' | '.join(cells)} | {why} |")


# What our own messages come to in a table.
_SHORT = (
    (r".*: (\w+) \(kfp-kubernetes\) is not honoured.*", r"needs a cluster: \1"),
    (r".*image '([^']*)' has no environment on this machine.*", r"needs the image \1"),
    (r".*the step asks for \d+ GPUs? \((\w+)\).*", r"asks for a GPU (\1), there is none"),
)


def shortened(reason: str) -> str:
    for pattern, said in _SHORT:
        if found := re.fullmatch(pattern, reason):
            return found.expand(said)
    plain = re.sub(r"/\S*/(tmp\S*|given\.txt)", "…", reason).replace("|", "\\|")
    return plain if len(plain) < 220 else plain[:219] + "…"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
