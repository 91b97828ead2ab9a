"""Pipelines as a user starts them, whole processes, ours beside its peers: in rounds, in which all take turns by chance.

Ten trivial steps (a chain of five, a fan-out of four, a join), cold and from the cache; four that wait 2 s; a loop of a
hundred. "kfp components" are Python functions that kfp's own executor runs (``benchmarks/peers/components.py``), the very
same for kfp and for us; "ours" are container components that start ``fleetml.component``. Each of our figures names its
runner: "subprocess", the default, starts Python for each step as kfp.local does, "warm" forks it (docs/adr/0009).
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import peers
from benchmarks.goals import Figure, judged

ROOT = Path(__file__).parents[1]
PEERS = Path(peers.__file__).parent
RUNNERS = ("subprocess", "warm")
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "9"))
# Those of the issue: shares of a peer's median time that our median may have, and times [s]; of both runners each.
GOALS = {
    **{
        f"{what}: FleetML {runner}, cold{kind} / {peer}": share
        for what, peer, share in (
            ("ten steps", "kfp.local, cold", 0.25),
            ("ten steps", "Metaflow, cold", 0.2),
            ("loop of 100", "kfp.local, cold", 0.2),
        )
        for runner in RUNNERS
        for kind in ("", ", kfp components")
    },
    **{
        f"ten steps: FleetML {runner}, cold{kind}, median": 0.5
        for runner in RUNNERS
        for kind in ("", ", kfp components")
    },
    "ten steps: FleetML subprocess, cached, median": 0.12,
    "ten steps: FleetML subprocess, cached, kfp components, median": 0.12,
    "4 x 2 s: FleetML subprocess, cold, median": 2.5,
}
STEPS = """
def echo(text):
    return {"out": text}


def join(a, b, c, d):
    return {"out": a + b + c + d}
"""
OURS = """
from kfp import dsl

from components.edge import step

STEPS = "benchmark_steps"


@dsl.container_component
def echo(text: str, out: dsl.OutputPath(str)):
    return step(f"{STEPS}:echo")


@dsl.container_component
def join(a: str, b: str, c: str, d: str, out: dsl.OutputPath(str)):
    return step(f"{STEPS}:join")


@dsl.pipeline(name="ours")
def ours(seed: str):
    last = echo(text=seed)
    for _ in range(4):
        last = echo(text=last.outputs["out"])
    fan = [echo(text=f"{last.outputs['out']}{number}") for number in range(4)]
    join(**{name: task.outputs["out"] for name, task in zip("abcd", fan, strict=True)})


@dsl.pipeline(name="ours-loop")
def ours_loop(seed: str):
    with dsl.ParallelFor(list(range(100))) as item:
        echo(text=f"{seed}{item}")
"""


@dataclass
class Contender:
    """What is timed: a command, which gets a number that no round had before; and what it took [s], by round."""

    name: str
    command: Callable[[str], list[str]]
    env: Mapping[str, str]
    cwd: Path
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def once(self, seed: str) -> None:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(self.command(seed), env=self.env, cwd=self.cwd, capture_output=True, text=True)
        self.wall.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if done.returncode:
            raise RuntimeError(f"{self.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def run() -> Iterator[Figure]:
    """Yield of each contender the median and the best of its wall times and its least CPU time, and our shares."""
    yield from judged(_figures(), GOALS)


def _figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        makers = (_ten, _waiting, _loop)
        for what, make, rounds in zip(("ten steps", "4 x 2 s", "loop of 100"), makers, (ROUNDS, 1, 3), strict=True):
            yield from _compared(what, make(Path(folder)), min(rounds, ROUNDS))


def _compared(what: str, contenders: list[Contender], rounds: int) -> Iterator[Figure]:
    for contender in contenders:  # the first time is not counted: files are read, bytecode is written
        contender.once("before")
        contender.wall.clear()
        contender.cpu.clear()
    for number in range(rounds):
        for contender in random.sample(contenders, len(contenders)):
            contender.once(f"{len(what)}{number}x")  # no other pipeline has computed any of it
    yield f"{what}: load of the machine", os.getloadavg()[0], "processes"
    for contender in contenders:
        yield f"{what}: {contender.name}, median", statistics.median(contender.wall), "s"
        yield f"{what}: {contender.name}, best", min(contender.wall), "s"
        yield f"{what}: {contender.name}, CPU, best", min(contender.cpu), "s"
    ours = [contender for contender in contenders if contender.name.startswith("FleetML") and "cold" in contender.name]
    for mine in ours:
        for peer in contenders:
            if peer.name.endswith("cold") and not peer.name.startswith("FleetML"):
                share = statistics.median(mine.wall) / statistics.median(peer.wall)
                yield f"{what}: {mine.name} / {peer.name}", share, "of medians"
                yield f"{what}: {mine.name} / {peer.name}, best", min(mine.wall) / min(peer.wall), "of best"
                yield f"{what}: {mine.name} / {peer.name}, CPU", min(mine.cpu) / min(peer.cpu), "of best"


def _fleetml(folder: Path, pipeline: str, runner: str, name: str, fixed: str = "", workers: int = 4) -> Contender:
    """Return a run of ours, with the same seed each time where `fixed` says which: then it is a run of cache hits."""
    project = folder / "project"
    if not project.exists():
        (project / "images").mkdir(parents=True)
        (project / ".venv").symlink_to(ROOT / ".venv")
        (project / "benchmark_steps.py").write_text(STEPS)
        (project / "ours.py").write_text(OURS)
        (project / "images/images.toml").write_text((ROOT / "images/images.toml").read_text())
        (project / "images/ml").symlink_to(ROOT / "images/ml")
    ir = folder / f"{pipeline}.yaml"
    if not ir.exists():
        _compile(project / "ours.py" if pipeline.startswith("ours") else PEERS / "components.py", pipeline, ir)
    command = [sys.executable, "-m", "fleetml", "run", str(ir), "--workers", str(workers), "--runner", runner]
    home = folder / f"home-{runner}"  # or one runner would find what the other computed
    env = {**_environment(), "FLEETML_PROJECT": str(project), "FLEETML_HOME": str(home)}
    return Contender(f"FleetML {runner}, {name}", lambda seed: [*command, "-p", f"seed={fixed or seed}"], env, folder)


def _environment() -> dict[str, str]:
    """Everybody may keep bytecode, as where it is installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _compile(source: Path, pipeline: str, ir: Path) -> None:
    """In a process of its own: kfp keeps what it has seen."""
    code = (
        "import runpy, sys; from kfp import compiler; "
        "compiler.Compiler().compile(runpy.run_path(sys.argv[1])[sys.argv[2]], sys.argv[3])"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(source), pipeline.replace("-", "_"), str(ir)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def _kfp(folder: Path, pipeline: str, name: str, fixed: str = "") -> Contender:
    """kfp.local as fast as it goes: without pip, without a virtual environment for each step."""
    command = [sys.executable, "-W", "ignore", str(PEERS / "components.py"), pipeline]
    place = str(folder / f"kfp-{pipeline}-{fixed}")
    return Contender(name, lambda seed: [*command, fixed or seed, place, fixed], _environment(), folder)


def _ten(folder: Path) -> list[Contender]:
    ours = [
        _fleetml(folder, pipeline, runner, f"cold{told}")
        for runner in RUNNERS
        for pipeline, told in (("ours", ""), ("ten", ", kfp components"))
    ]
    ours += [
        _fleetml(folder, "ours", "subprocess", "cached", "same"),
        _fleetml(folder, "ten", "subprocess", "cached, kfp components", "same"),
    ]
    theirs = [_kfp(folder, "ten", "kfp.local, cold"), _kfp(folder, "ten", "kfp.local, cached", "same")]
    return [*ours, *theirs, *_peers(folder)]


def _peers(folder: Path) -> list[Contender]:
    python = peers.python()
    if python is None:
        return []
    quiet = {"DO_NOT_TRACK": "1", "KEDRO_DISABLE_TELEMETRY": "1", "METAFLOW_USER": "bench", "USERNAME": "bench"}
    env = {**_environment(), **quiet, "HOME": str(folder), "METAFLOW_HOME": str(folder / "metaflow")}

    def of(name: str, script: str, *words: str) -> Contender:
        return Contender(name, lambda seed: [str(python), str(PEERS / script), *words, seed], env, folder)

    metaflow = of("Metaflow, cold", "metaflow_ten.py", "run", "--max-workers", "4", "--seed")
    return [metaflow, of("Kedro, one process, cold", "kedro_ten.py"), of("Flyte, one process, cold", "flyte_ten.py")]


def _waiting(folder: Path) -> list[Contender]:
    return [_fleetml(folder, "waiting", "subprocess", "cold"), _kfp(folder, "waiting", "kfp.local, cold")]


def _loop(folder: Path) -> list[Contender]:
    ours = [
        _fleetml(folder, pipeline, runner, f"cold{told}")
        for runner in RUNNERS
        for pipeline, told in (("ours-loop", ""), ("loop", ", kfp components"))
    ]
    return [*ours, _kfp(folder, "loop", "kfp.local, cold")]
