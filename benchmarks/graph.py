"""What a graph costs by its size: steps that do nothing, each after two of the layer before it, in layers of ten.

Loaded (read, held to the grammar), planned (expanded, with its edges) and run by the local engine with a runner that starts
nothing: what is left is the engine's own work, records and all. Linear means that a step costs the same in every column.
The plot is written to the file that BENCH_PLOT names.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from fleetml.engines import local
from fleetml.pipeline import Plan, document, ir, plan_of, platform
from fleetml.runners import Command, Exit
from fleetml.settings import Settings

SIZES = (250, 500, 1000, 2000)
LAYER = 10
ROUNDS = 3
TABLE = '[images."fleetml/ml"]\nvenv = "{venv}"\nlocks = []\n'


class NothingRunner:
    """Ends each command well without starting it."""

    def run(self, command: Command, on_line: Callable[[str], None], cancel: Any) -> Exit:
        return Exit(0)


def pipeline(size: int) -> dict[str, Any]:
    """Return the IR of `size` steps."""

    def task(number: int) -> dict[str, Any]:
        above = number - LAYER
        before = [f"step-{above}", f"step-{above - above % LAYER + (above + 1) % LAYER}"] if above >= 0 else []
        return {"taskInfo": {"name": "step"}, "componentRef": {"name": "comp-step"}, "dependentTasks": before}

    return {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": f"graph-{size}"},
        "components": {"comp-step": {"executorLabel": "exec-step"}},
        "deploymentSpec": {"executors": {"exec-step": {"container": {"image": "fleetml/ml", "command": ["true"]}}}},
        "root": {"dag": {"tasks": {f"step-{number}": task(number) for number in range(size)}}},
    }


def run() -> Iterator[tuple[str, float, str]]:
    """Yield the least wall time of each part for each size; write the plot."""
    taken: dict[str, list[float]] = {"load": [], "plan": [], "run": []}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "images").mkdir()
        (Path(folder) / "images/images.toml").write_text(TABLE.format(venv=sys.prefix))
        for size in SIZES:
            rounds = [_once(size, Path(folder), f"{size}-{number}") for number in range(ROUNDS)]
            for part, seconds in zip(taken, zip(*rounds, strict=True), strict=True):
                taken[part].append(min(seconds))
                yield f"graph of {size:,} steps: {part}", min(seconds), "s"
            whole = sum(seconds[-1] for seconds in taken.values())
            yield f"graph of {size:,} steps: a step in all", whole / size * 1e3, "ms"
    if place := os.environ.get("BENCH_PLOT"):
        _plot(taken, Path(place))


def _once(size: int, folder: Path, run_id: str) -> tuple[float, float, float]:
    path = folder / f"{size}.json"
    path.write_text(json.dumps(pipeline(size)))
    settings = Settings.from_environment({"FLEETML_PROJECT": str(folder)})
    gc.collect()
    times = [time.perf_counter()]
    found = document.read(path)
    ir.check(found)
    platform.check(found)
    times.append(time.perf_counter())
    plan: Plan = plan_of(found)
    times.append(time.perf_counter())
    state = local.run(local.Job(plan, path, {}, run_id), settings, runner=NothingRunner())
    times.append(time.perf_counter())
    if state != "succeeded":
        raise RuntimeError(f"{run_id}: {state}")
    load, made, ran = (after - before for before, after in pairwise(times))
    return load, made - load, ran  # to plan is to check once more


def _plot(taken: dict[str, list[float]], place: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="steps", ylabel="seconds", title="Steps that do nothing: the engine's own time")
    for part, seconds in taken.items():
        axes.plot(SIZES, seconds, marker="o", label=part)
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.legend()
    figure.savefig(place, dpi=120)
