"""kill -9 of the engine or of a step at random points of a run, then resume: is it as if nothing had happened?"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from fleetml.records import Run

ROOT = Path(__file__).parents[1]
ROUNDS, SEED = 50, 7
AGAIN = 0.3  # how often a resumed run is killed too
PIPELINE = """
from kfp import dsl

HEAD = "import hashlib, json, pathlib, sys, time; time.sleep(0.05); out, *given = sys.argv[1:]; text = '-'.join(given); "
WRITE = "p = pathlib.Path(out); p.parent.mkdir(parents=True, exist_ok=True); "
DIGEST = HEAD + WRITE + "p.write_text(hashlib.sha256(text.encode()).hexdigest()[:12])"
LIST = HEAD + WRITE + "p.write_text(json.dumps([text + str(n) for n in range(3)]))"
FILE = HEAD + "p = pathlib.Path(out); p.mkdir(parents=True); [(p / str(n)).write_text(text * 1000) for n in range(20)]"
READ = HEAD + WRITE + "p.write_text(hashlib.sha256(b''.join(f.read_bytes() for f in sorted(pathlib.Path(given[0]).iterdir()))).hexdigest())"


@dsl.container_component
def link(text: str, out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", DIGEST], args=[out, text])


@dsl.container_component
def fork(text: str, out: dsl.OutputPath(list)):
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", LIST], args=[out, text])


@dsl.container_component
def write(text: str, data: dsl.Output[dsl.Dataset]):
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", FILE], args=[data.path, text])


@dsl.container_component
def read(data: dsl.Input[dsl.Dataset], out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", READ], args=[out, data.path])


@dsl.pipeline(name="interrupted")
def interrupted(seed: str = "s"):
    last = link(text=seed).set_caching_options(False)
    for _ in range(2):
        last = link(text=last.outputs["out"]).set_caching_options(False)
    items = fork(text=last.outputs["out"]).set_caching_options(False)
    with dsl.ParallelFor(items.outputs["out"]) as item:
        made = write(text=item).set_caching_options(False)
        read(data=made.outputs["data"]).set_caching_options(False)
    with dsl.If(last.outputs["out"] != "never"):
        fan = [link(text=f"{last.outputs['out']}-{n}").set_caching_options(False) for n in range(3)]
    with dsl.If(last.outputs["out"] == "never"):
        link(text=seed).set_caching_options(False)
"""


@dataclass(frozen=True)
class Survival:
    """One run that was killed `kills` times; `wrong` says what was not as in an undisturbed one, "" for nothing."""

    kills: int
    seconds: float
    wrong: str


def run() -> Iterator[tuple[str, float, str]]:
    """Yield how many of the runs came out as if nothing had happened."""
    with tempfile.TemporaryDirectory() as folder:
        found = list(survivals(Path(folder), ROUNDS, SEED))
    for survival in found:
        if survival.wrong:
            print(f"resume   {survival.wrong}", file=sys.stderr)
    yield "killed at random points, then resumed", len(found), "runs"
    yield "equal to the undisturbed run", sum(not survival.wrong for survival in found), "runs"
    yield "kills of engine or step in all", sum(survival.kills for survival in found), "kills"
    yield "last resume, median", statistics.median(survival.seconds for survival in found), "s"


def survivals(folder: Path, rounds: int, seed: int) -> Iterator[Survival]:
    """Run a pipeline of fourteen steps undisturbed, then `rounds` times with kills; tell each."""
    from fleetml.compiler import compile_pipeline

    source = folder / "pipeline.py"
    source.write_text(PIPELINE)
    pipeline, _ = compile_pipeline(source)
    env = {**os.environ, "FLEETML_HOME": f"{folder}/home", "FLEETML_PROJECT": str(ROOT)}
    chance = random.Random(seed)
    began = time.perf_counter()
    subprocess.run(_command("run", str(pipeline), "--run-id", "undisturbed"), env=env, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    expected = made(Run(folder / "home", "undisturbed"))
    for number in range(rounds):
        records = Run(folder / "home", f"killed-{number}")
        yield _survival(records, pipeline, env, expected, seconds, chance)


def _survival(
    records: Run, pipeline: Path, env: Mapping[str, str], expected: Any, seconds: float, chance: random.Random
) -> Survival:
    words, kills, wrong = ["run", str(pipeline), "--run-id", records.run_id], 0, ""
    while True:
        kills += _killed(_command(*words), env, chance.uniform(0.05, 1.0) * seconds, chance)
        finished = _finished(records)
        if not kills and records.exists() and records.state() == "succeeded":  # it was over before: another one
            records = Run(records.folder.parents[1], f"{records.run_id}-again")
            words = ["run", str(pipeline), "--run-id", records.run_id]
        elif records.exists():
            words = ["resume", records.run_id]
        if kills and chance.random() >= AGAIN:
            break
    began = time.perf_counter()
    last = subprocess.run(_command(*words), env=env, capture_output=True, text=True)
    taken = time.perf_counter() - began
    repeated = [step for step, attempt in _finished(records).items() if finished.get(step, attempt) != attempt]
    if last.returncode:
        wrong = f"ended with {last.returncode}: {(last.stdout + last.stderr)[-500:]}"
    elif repeated:
        wrong = f"repeated {', '.join(repeated)}"
    elif made(records) != expected:
        wrong = f"made {json.dumps(made(records))} instead of {json.dumps(expected)}"
    return Survival(kills, taken, wrong and f"{records.run_id} {wrong}")


def _killed(command: list[str], env: Mapping[str, str], after: float, chance: random.Random) -> int:
    """Start a command; after some seconds kill it or one of the steps it runs. Return the number of kills, 0 or 1."""
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as engine:
        try:
            engine.wait(after)
            return 0  # it was over before
        except subprocess.TimeoutExpired:
            pass
        steps = psutil.Process(engine.pid).children(recursive=True)
        victim = chance.choice(steps) if steps and chance.random() < 0.5 else psutil.Process(engine.pid)
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            return 0
        engine.wait()
        _, alive = psutil.wait_procs(steps, timeout=10)
        if alive:
            raise AssertionError(f"steps outlived their engine: {alive}")
        return 1


def _finished(records: Run) -> dict[str, int]:
    """Return the number of the attempt that each finished step succeeded with."""
    if not records.exists():
        return {}
    return {step: found.number for step, found in records.latest().items() if found.state == "succeeded"}


def made(records: Run) -> dict[str, Any]:
    """Return what each step of a run came to: its state, its parameters, the digests of its artifacts."""
    found = {}
    for step, attempt in records.latest().items():
        outcome = attempt.outcome or {"parameters": {}, "artifacts": {}}
        digests = [item["digest"] for items in outcome["artifacts"].values() for item in items]
        found[step] = [attempt.state, outcome["parameters"], digests]
    return {**found, "": records.read()["state"]}


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "fleetml", *words]
