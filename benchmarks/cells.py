"""Cells of a benchmark that takes hours: each is computed in a process of its own and kept; what is there is not done again.

    cells = [Cell("automl", system, data, fold, seed, 60.0) for ...]
    done = run(cells, lambda cell: [python, "-m", "benchmarks.automl", cell.text], "automl", minutes=40, lanes=2)

The command prints its figures as one line of JSON, the last of its output. Results are lines of
``benchmarks/results/<name>.jsonl``: the cell, figures, seconds, commit, cores, and the load that others made as it began. A command
that fails or outlives three times its budget and a minute is a result too: {"failed": why}; such a cell is done again by the next call.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cell:
    """One system on one part of one data set; `budget` [s] is what it is given."""

    benchmark: str
    system: str
    data: str
    fold: int
    seed: int
    budget: float

    @property
    def text(self) -> str:
        """Return it as JSON, for a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Cell:
        """Return the cell that `text` tells."""
        return cls(**json.loads(text))


def results(name: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a benchmark's results, the oldest first."""
    path = RESULTS / f"{name}.jsonl"
    if path.exists():
        yield from (json.loads(line) for line in path.read_text().splitlines() if line)


def latest(name: str) -> dict[Cell, dict[str, Any]]:
    """Return the last result of each cell."""
    return {Cell(**line["cell"]): line for line in results(name)}


def run(
    cells: Iterable[Cell], command: Callable[[Cell], Sequence[str]], name: str, minutes: float, lanes: int = 2
) -> str:
    """Compute those that have no figures yet, `lanes` at a time, each lane on cores of its own; return "n of m cells done".

    No cell begins that `minutes` would not suffice for.
    """
    wanted, have = list(cells), _figured(name)
    todo = iter([cell for cell in wanted if cell not in have])
    lock, end = threading.Lock(), time.monotonic() + 60 * minutes
    cores = sorted(os.sched_getaffinity(0))
    lanes = min(lanes, len(cores))
    share = len(cores) // lanes

    def lane(number: int) -> None:
        mine = cores[number * share : (number + 1) * share]
        while True:
            with lock:
                cell = next(todo, None)
            if cell is None or time.monotonic() + 1.3 * cell.budget > end:
                return
            line = _computed(cell, command(cell), mine)
            with lock:
                _keep(name, line)

    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(lane, range(lanes)))
    have = _figured(name)
    return f"{sum(cell in have for cell in wanted)} of {len(wanted)} cells done"


def _figured(name: str) -> set[Cell]:
    """Return the cells whose last result did not fail."""
    return {cell for cell, line in latest(name).items() if "failed" not in line["figures"]}


def _computed(cell: Cell, command: Sequence[str], cores: Sequence[int]) -> dict[str, Any]:
    load, began = os.getloadavg()[0], time.monotonic()
    env = {**os.environ, "OMP_NUM_THREADS": str(len(cores)), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        ["taskset", "-c", ",".join(map(str, cores)), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=3 * cell.budget + 60)
        figures = _figures(process.returncode, out, err)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        figures = {"failed": f"not done after {3 * cell.budget + 60:.0f} s"}
    seconds = time.monotonic() - began
    return {
        "cell": asdict(cell),
        "figures": figures,
        "seconds": round(seconds, 2),
        "commit": _commit(),
        "cores": len(cores),
        "load": round(load, 2),
    }


def _figures(status: int, out: str, err: str) -> dict[str, Any]:
    if status:
        return {"failed": f"exit status {status}: {err.strip()[-500:]}"}
    try:
        return dict(json.loads(out.strip().splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        return {"failed": f"no line of JSON at the end of: {out.strip()[-500:]}"}


def _keep(name: str, line: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()
