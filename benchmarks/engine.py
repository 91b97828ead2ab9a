"""Ten trivial steps (a chain of five, a fan-out of four, a join), whole process, cold and from the cache."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROUNDS = 9
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


def run() -> Iterator[tuple[str, float, str]]:
    """Yield medians and minima of whole processes."""
    from fleetml.compiler import compile_pipeline

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "pipeline.py"
        source.write_text(TEN)
        target, _ = compile_pipeline(source)
        env = {**os.environ, "FLEETML_HOME": f"{folder}/home", "FLEETML_PROJECT": str(ROOT)}
        _once(target, env, "warm-up")
        cold = [_once(target, env, f"{number}") for number in range(ROUNDS)]
        cached = [_once(target, env, "0") for _ in range(ROUNDS)]
    for name, taken in (("ten steps, cold", cold), ("ten steps, all cached", cached)):
        yield f"{name}, median", statistics.median(taken), "s"
        yield f"{name}, best", min(taken), "s"


def _once(target: Path, env: dict[str, str], seed: str) -> float:
    command = [sys.executable, "-m", "fleetml", "run", str(target), "-p", f"seed={seed}"]
    began = time.perf_counter()
    subprocess.run(command, env=env, check=True, capture_output=True)
    return time.perf_counter() - began
