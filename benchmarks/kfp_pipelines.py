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
FAILING = "failing/"  # the folder of those that are to fail
SECONDS = 600.0
PLAIN = {
    "STRING": "text",
    "NUMBER_INTEGER": 3,
    "NUMBER_DOUBLE": 0.5,
    "BOOLEAN": True,
    "LIST": [1, 2],
    "STRUCT": {"a": 1},
}
SECRETS = {
    f"FLEETML_SECRET_TEST_SECRET_{n}_{key}": f"{key}-of-nobody-{n}"
    for n in (1, 2, 3)
    for key in ("USERNAME", "PASSWORD")
}


@dataclass
class Found:
    """One IR: what it is called, and what became of it on each engine."""

    name: str
    plan: Plan | None
    reason: str = ""
    states: dict[str, str] = field(default_factory=dict)


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
    """Copy an IR under a name of its own: many of them share theirs, which is a DAG's id."""
    documents = [document for document in yaml.load_all(path.read_text(), yaml.CSafeLoader) if document]
    documents[0]["pipelineInfo"]["name"] = re.sub(r"[^a-z0-9]+", "-", Path(name).with_suffix("").as_posix().lower())[
        -100:
    ].strip("-")
    target = settings.project / "dags" / f"{documents[0]['pipelineInfo']['name']}.yaml"
    target.write_text(yaml.safe_dump_all(documents))
    return target


def parameters(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Return something for every parameter without a default."""
    given: dict[str, Any] = {}
    for name, parameter in plan.inputs.items():
        if parameter.required:
            outside = parameter.description.startswith("URI of ") or name.endswith("_path")
            plain = str(settings.project / "given.txt") if outside else PLAIN[parameter.type]
            given[name] = parameter.literals[0] if parameter.literals else plain
    return given


def run_locally(path: Path, one: Found, settings: Settings) -> None:
    assert one.plan
    file = path.with_suffix(".parameters")
    file.write_text(yaml.safe_dump(parameters(one.plan, settings)))
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
        run_id = client.trigger(dag_id, parameters(one.plan, settings))
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
    print(f"{len(found)} pipelines, {sum(one.plan is not None for one in found)} load.")
    for engine in engines:
        counts = Counter(one.states.get(engine, "") for one in found if one.plan)
        print(f"{engine}: {', '.join(f'{count} {state}' for state, count in counts.most_common())}.")
    print(f"\n| pipeline | loads | {' | '.join(engines)} | why not |\n|---|---|{'---|' * len(engines)}---|")
    for one in found:
        cells = [one.name, "yes" if one.plan else "refused", *(one.states.get(engine, "") for engine in engines)]
        expected = FAILING in one.name and set(one.states.values()) == {"failed"}
        print(f"| {' | '.join(cells)} | {'is to fail' if expected else shortened(one.reason)} |")


def shortened(reason: str) -> str:
    plain = re.sub(r"/\S*/(tmp\S*|given\.txt)", "…", reason).replace("|", "\\|")
    return plain if len(plain) < 220 else plain[:219] + "…"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
