"""The forecaster `mixture` under GIFT-Eval's protocol on bitbrains_rnd (needs ../shared), as its ONNX graph, beside the published table.

    python -m benchmarks gift_eval                        # validation: blocks 1 to 3, which lie before the test
    BENCH_TEST=1 python -m benchmarks gift_eval           # the test, once for each configuration

Everything is chosen on the validation blocks. A test run is a line of benchmarks/results/gift_eval.jsonl, fold 0, with its
commit; a configuration that has one is told from there and not run again. BENCH_MINUTES (30) bounds the run, BENCH_SEEDS (1) says how many are learnt.
The learnt mixture of a block is fitted to all that lies before the block. `windows` are of both variates on the test, and of CPU in % on the validation blocks: they are one shape. The worst 5 are the VMs
(or series) with the greatest mean MASE: a few that all but stood still decide the mean.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cells, goals
from benchmarks.cells import Cell
from fleetml.learn import gift_eval
from fleetml.learn.experts import Memory
from fleetml.learn.forecaster import Forecaster, latency
from fleetml.learn.gift_eval import Task

FOLDER = Path(__file__).parents[2] / "shared/data/bitbrains_rnd"
FILE = FOLDER / "gift_2013-07_cpu_5min.parquet"
PUBLISHED = FOLDER / "published_gift_eval_results.csv.gz"
NAME = "gift_eval"
BESIDE = ("Toto-2.0-1B", "chronos-2", "PatchTST", "seasonal_naive")
# Where the experts are tried, chosen on the validation blocks.
MEMORIES = {
    "5T/short": Memory(6, 48, 48),
    "5T/medium": Memory(6, 96, 96),
    "5T/long": Memory(6, 96, 96),
    "H/short": Memory(6, 24, 48),
}
BUDGETS = {"5T/short": 900.0, "5T/medium": 300.0, "5T/long": 300.0, "H/short": 120.0}
UNTRAINED, LEARNT = "mixture of 34, untrained", "mixture of 34, learnt"  # 26 naive experts and eight of analogs
LEARNING = 3600.0  # s
STRIDE = 24  # steps between the windows that are learnt from
EPOCHS = 4
GOAL = 1.85


def run() -> Iterator[tuple[str, float, str]]:
    """Yield the figures of each task and block, the published ones beside those of the test."""
    if not FILE.exists():
        yield "skipped: ../shared/data/bitbrains_rnd is not there", 0.0, ""
        return
    wanted = cells_wanted()
    done = cells.run(wanted, _command, NAME, float(os.environ.get("BENCH_MINUTES", "30")))
    print(f"{NAME}: {done}", flush=True)
    figures = list(_figures(wanted))
    yield from goals.judged(
        iter(figures), {name: GOAL for name, _, _ in figures if name.endswith("5T/short, test: MASE")}
    )
    for name, memory in MEMORIES.items():
        p50, p99 = min(latency(untrained(gift_eval.task(name), memory)) for _ in range(3))
        yield f"{UNTRAINED}: {name}: p50 of one forecast on one thread", p50, "ms"
        yield f"{UNTRAINED}: {name}: p99 of one forecast on one thread", p99, "ms"


def cells_wanted() -> list[Cell]:
    """Return the cells of the validation blocks, or of the test where BENCH_TEST is set; the learnt ones for BENCH_SEEDS seeds."""
    folds = (0,) if os.environ.get("BENCH_TEST") else (1, 2, 3)
    seeds = range(int(os.environ.get("BENCH_SEEDS", "1")))
    cheap = [Cell(NAME, UNTRAINED, name, fold, 0, BUDGETS[name]) for name in gift_eval.TASKS for fold in folds]
    return cheap + [Cell(NAME, LEARNT, "5T/short", fold, seed, LEARNING) for seed in seeds for fold in folds]


def _command(cell: Cell) -> list[str]:
    return [sys.executable, "-m", "benchmarks.gift_eval", cell.text]


def _figures(wanted: list[Cell]) -> Iterator[tuple[str, float, str]]:
    found = cells.latest(NAME)
    for cell in wanted:
        figures = found.get(cell, {"figures": {"failed": "not run"}})["figures"]
        part = f"{cell.system}{f', seed {cell.seed}' if cell.system == LEARNT else ''}: {cell.data}, {f'validation {cell.fold}' if cell.fold else 'test'}"
        if "failed" in figures:
            yield f"{part}: failed: {figures['failed'][:60]}", float("nan"), ""
            continue
        yield f"{part}: MASE", figures["mase"], ""
        yield f"{part}: MASE without the worst 5", figures["mase_without_5"], ""
        yield f"{part}: CRPS", figures["crps"], ""
        if not cell.fold:
            table = gift_eval.published(PUBLISHED, gift_eval.task(cell.data))
            for name in BESIDE:
                yield f"{part}: MASE of {name}, published", table[name][0], ""
                yield f"{part}: CRPS of {name}, published", table[name][1], ""


def measure(cell: Cell) -> dict[str, Any]:
    """Return the figures of one task and block, by the graph."""
    task = gift_eval.task(cell.data)
    memory = MEMORIES[cell.data]
    graph = learnt(task, memory, cell.fold, cell.seed) if cell.system == LEARNT else untrained(task, memory)
    values = gift_eval.series(FILE, task, ("cpu_pct",) if cell.fold else gift_eval.VARIATES)
    forecaster = Forecaster(graph)
    at = gift_eval.origins(task, values.shape[1], cell.fold)
    windows = gift_eval.cut(values, at, task, forecaster.meta.context)
    quantiles = forecaster.quantiles(windows.history, windows.covariates)
    return {
        **gift_eval.figures(windows, quantiles),
        "windows": len(windows),
        "memory": asdict(memory),
        "parameters": parameters(graph),
        "bytes": len(graph),
    }


def untrained(task: Task, memory: Memory) -> bytes:
    """Return the graph of the mixture of a task, which nothing was fitted for."""
    from fleetml.learn import export
    from fleetml.learn.mixture import Mixture
    from fleetml.learn.quantiles import LEVELS

    meta = gift_eval.meta(task, memory.context(task.season))
    model = export.from_torch(Mixture(meta, memory), meta, asdict(memory), LEVELS)
    return bytes(model.SerializeToString())


def learnt(task: Task, memory: Memory, fold: int, seed: int) -> bytes:
    """Return the graph of the mixture whose head is fitted to CPU in % of all that lies before a block."""
    import torch

    from fleetml.learn import export
    from fleetml.learn.mixture_training import Examples, Recipe, fit
    from fleetml.learn.quantiles import LEVELS

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    values = gift_eval.series(FILE, task, ("cpu_pct",))
    values = values[:, : gift_eval.origins(task, values.shape[1], fold)[0]]
    context = memory.context(task.season)
    places = range(context, values.shape[1] - task.horizon + 1, STRIDE)
    examples = Examples.of((gift_eval.cut(values, [place], task, context) for place in places), memory)
    meta = gift_eval.meta(task, context)
    network = fit(
        examples,
        meta,
        memory,
        Recipe(epochs=EPOCHS),
        seed,
        lambda epoch, loss: print(f"epoch {epoch}: {loss:.4f}", flush=True),
    )
    model = export.from_torch(network, meta, {**asdict(memory), "seed": seed, "fold": fold}, LEVELS)
    return bytes(model.SerializeToString())


def parameters(graph: bytes) -> int:
    """Return how many numbers a graph holds that are float32: weights, and a few constants."""
    import onnx

    tensors = onnx.load_from_string(graph).graph.initializer
    return sum(int(np.prod(tensor.dims)) for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT)


if __name__ == "__main__":
    print(json.dumps(measure(Cell.of(sys.argv[1]))))
