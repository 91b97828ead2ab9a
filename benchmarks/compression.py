"""Compression of two forecasters, a tree ensemble and the anomaly network, trained on a month of 150 VMs (needs ../shared).

    BENCH_MINUTES=25 python -m benchmarks compression

The search for 10 times smaller at a loss of 1 % and no slower, each technique alone, and the peers applied plainly (ONNX Runtime's own
quantisation, NNCF, ModelOpt, torchao: .venv/peers-compress). Loss on validation rows of VMs that nothing else saw, and on the test,
which judges the goal; size of the file; median latency of one row on one thread, original and made in turns. Of the second forecaster,
mlp, the search alone. Cells are kept in results/compression.jsonl and not done again; what they are trained from in a temporary folder.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import onnx

from benchmarks import cells
from benchmarks.cells import ROOT, Cell
from benchmarks.goals import Figure
from fleetml.atomic import aside
from fleetml.component import Artifact
from fleetml.learn.anomaly.samples import Samples
from fleetml.learn.compression import graphs, half, networks, prune, qat, quantise, trees
from fleetml.learn.compression.anomalies import AnomalyData
from fleetml.learn.compression.compressible import Compressible, Data, Feeds, loss
from fleetml.learn.compression.forecasters import ForecasterData
from fleetml.learn.compression.search import Target, search

NAME = "compression"
REAL = ROOT.parent / "shared/data/bitbrains_rnd/vm001-150_2013-08_all_metrics.parquet"
PEERS = ROOT / ".venv/peers-compress/bin/python"
SEEDS = (0, 1)
RATIO, LOSS = 10.0, 0.01
TUNING = 30.0  # seconds a tuning may take
SEARCH = {"tcn": 420.0, "anomaly": 180.0, "mlp": 180.0, "lightgbm": 120.0}  # seconds
SHARE = 1 / 12  # of the time of a search that one tuning may take, as of the step
LANES = 2
TECHNIQUES = {
    "static": (quantise.static, 1.0),
    "dynamic": (quantise.dynamic, 1.0),
    "mixed": (quantise.mixed, 0.34),
    "quantisation_aware": (qat.aware, 1.0),
    "int8_constants": (half.int8_constants, 1.0),
    "fp16": (half.fp16, 1.0),
    "structured": (prune.structured, 0.5),
    "structured_tuned": (prune.structured, 0.5),
    "magnitude": (prune.magnitude, 0.25),
    "low_rank": (networks.low_rank, 0.25),
    "distilled": (networks.distilled, 0.5),
    "small_from_scratch": (networks.small_from_scratch, 0.5),
}
TREES = {
    "short_trees": (trees.fewer_leaves, 1.0),
    "half_the_leaves": (trees.fewer_leaves, 0.5),
    "int8_leaves": (trees.int8_leaves, 1.0),
}
PLAIN = ("onnxruntime_dynamic", "onnxruntime_static", "nncf", "modelopt", "torchao")
NETWORKS = ("tcn", "mlp")
GOAL = f"at least {RATIO:g} times smaller, less than {LOSS:.0%} lost on the test, not slower"


def run() -> Iterator[Figure]:
    """Yield ratio, losses and latency of each system, the means over the seeds, and whether the search meets the goal."""
    if not REAL.exists():
        yield "skipped: ../shared/data is not there", 0.0, ""
        return
    _windows(_folder())  # once, before cells run side by side
    _samples(_folder())
    minutes = float(os.environ.get("BENCH_MINUTES", "25"))
    print(f"{NAME}: {cells.run(wanted(), command, NAME, minutes, lanes=LANES)}", flush=True)
    found = {cell: line["figures"] for cell, line in cells.latest(NAME).items()}
    for cell, figures in found.items():
        if "failed" in figures:
            yield f"{cell.data}, {cell.system}, seed {cell.seed}: {figures['failed'][-80:]}", math.nan, "failed"
    yield from summary({cell: figures for cell, figures in found.items() if "failed" not in figures})


def wanted() -> list[Cell]:
    """Return the cells: the searches first."""
    searches = [Cell(NAME, "search", data, 0, seed, SEARCH[data]) for seed in SEEDS for data in SEARCH]
    plain = [name for name in PLAIN if name.startswith("onnxruntime") or PEERS.exists()]
    pairs = [(data, system) for data in ("tcn", "anomaly") for system in (*plain, *TECHNIQUES)]
    pairs += [("lightgbm", system) for system in TREES]
    known = [pair for pair in pairs if pair != ("anomaly", "torchao")]  # what it takes are the forecasters' modules
    return searches + [Cell(NAME, system, data, 0, seed, 60.0) for seed in SEEDS for data, system in known]


def command(cell: Cell) -> list[str]:
    """Return what computes a cell."""
    return [sys.executable, "-m", "benchmarks.compression", cell.text]


def summary(found: dict[Cell, dict[str, Any]]) -> Iterator[Figure]:
    """Yield the means over the seeds, and the goal for each model that was searched."""
    grouped = itertools.groupby(sorted(found, key=lambda c: (c.data, c.system)), key=lambda c: (c.data, c.system))
    for (data, system), same in grouped:
        rows = [found[cell] for cell in same]
        figures = {
            name: mean(row[name] for row in rows)
            for name in ("ratio", "loss", "test_loss", "latency_ms", "latency_before_ms")
        }
        yield f"{data}, {system}: smaller", figures["ratio"], f"times ({len(rows)} seeds)"
        yield f"{data}, {system}: loss, test", 100 * figures["test_loss"], f"% (validation {100 * figures['loss']:.2f})"
        yield (
            f"{data}, {system}: latency",
            1e3 * figures["latency_ms"],
            f"us (before {1e3 * figures['latency_before_ms']:.0f})",
        )
        if system == "search":
            met = (
                figures["ratio"] >= RATIO
                and figures["test_loss"] < LOSS
                and figures["latency_ms"] <= figures["latency_before_ms"]
            )
            yield f"{data}: the goal", float(met), f"({'met' if met else 'NOT MET'}: {GOAL})"


def compute(cell: Cell) -> dict[str, Any]:
    """Return the figures of one cell."""
    data, test = _data(cell)
    whole = data.original()
    before, before_test = data.figure(whole.graph), test.figure(whole.graph)
    if cell.system == "torchao":
        said = _torchao(data, whole)
        test_said = _torchao(test, whole)
        return {
            **said,
            "loss": loss(said["figure"], before, False),
            "test_loss": loss(test_said["figure"], before_test, False),
        }
    made, told = _made(cell, data, whole)
    figures: dict[str, Any] = {**told, "ratio": whole.size_bytes / made.ByteSize(), "size_bytes": made.ByteSize()}
    turns = [(data.latency_ms(whole.graph), data.latency_ms(made)) for _ in range(3)]
    figures["latency_before_ms"], figures["latency_ms"] = map(min, zip(*turns, strict=True))
    figures["loss"] = loss(data.figure(made), before, data.larger_is_better)
    figures["test_loss"] = loss(test.figure(made), before_test, data.larger_is_better)
    return figures


def _made(cell: Cell, data: Any, whole: Compressible) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return the graph that a system makes, and what a search tells of it."""
    if cell.system == "search":
        target = Target(LOSS, RATIO, latency_ms=data.latency_ms(whole.graph))
        found = search(data, target, seconds=cell.budget, seed=cell.seed)
        told = {"method": found.method, "met": found.met, "reason": found.reason, "trials": len(found.points)}
        return found.graph, told
    if cell.system in PLAIN:
        return data.finished(_peer(cell.system, data, whole)), {}
    technique, amount = (TECHNIQUES | TREES)[cell.system]
    made = technique(whole, amount, data)
    if cell.system == "structured_tuned":
        made = networks.tuned(made, 1.0, data)
    return data.finished(graphs.compact(made.graph)), {}


def _peer(system: str, data: Data, whole: Compressible) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(whole.graph, folder / "model.onnx")
        if system == "onnxruntime_dynamic":
            from onnxruntime import quantization

            quantization.quantize_dynamic(folder / "model.onnx", folder / "compressed.onnx")
            return onnx.load(folder / "compressed.onnx")
        feeds = data.feeds()
        if system == "onnxruntime_static":
            return _ort_static(folder, feeds)
        np.savez(folder / "calibration.npz", **{key: np.concatenate([feed[key] for feed in feeds]) for key in feeds[0]})
        _in_their_environment(system, folder)
        return onnx.load(folder / "compressed.onnx")


def _ort_static(folder: Path, feeds: Sequence[Feeds]) -> onnx.ModelProto:
    """ONNX Runtime's static quantisation with its defaults, calibrated with our rows."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    bare = onnx.load(folder / "model.onnx")
    del bare.graph.value_info[:]
    onnx.save(bare, folder / "model.onnx")
    quant_pre_process(folder / "model.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
    quantization.quantize_static(folder / "prepared.onnx", folder / "compressed.onnx", quantise.Calibration(feeds))
    return onnx.load(folder / "compressed.onnx")


def _torchao(data: Any, whole: Compressible) -> dict[str, Any]:
    import torch

    with tempfile.TemporaryDirectory() as name:
        folder, judged = Path(name), data.judged
        torch.save(whole.network, folder / "network.pt")
        columns = {key: getattr(judged, key) for key in ("history", "covariates", "target", "scale")}
        np.savez(folder / "judged.npz", **columns)
        return _in_their_environment("torchao", folder)


def _in_their_environment(system: str, folder: Path) -> dict[str, Any]:
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    done = subprocess.run(
        [str(PEERS), "-m", "benchmarks.compression_peers", system, str(folder)], capture_output=True, text=True, env=env
    )
    if done.returncode:
        raise RuntimeError(f"{system}: {done.stderr.strip()[-400:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _data(cell: Cell) -> tuple[Any, Any]:
    """Return the model of a cell with the rows to compress it by, and with the test rows to judge it by."""
    import torch

    torch.set_num_threads(1)
    folder = _folder()
    path = folder / f"{cell.data}-{cell.seed}.onnx"
    if cell.data == "anomaly":
        return _anomaly(path, cell)
    train, val, test = _windows(folder)
    if not path.exists():
        with aside(path) as temporary:
            onnx.save(_trained(cell, train, val), temporary)
    tuning = _tuning(cell) if cell.data in NETWORKS else 0.0
    data, judge = (ForecasterData(onnx.load(path), train, rows, tuning, cell.seed) for rows in (val, test))
    judge.judged = test
    return data, judge


def _tuning(cell: Cell) -> float:
    return SHARE * cell.budget if cell.system == "search" else TUNING


def _folder() -> Path:
    """Return where windows and models wait for the other cells."""
    folder = Path(tempfile.gettempdir()) / "fleetml-benchmark-compression"
    folder.mkdir(exist_ok=True)
    return folder


def _trained(cell: Cell, train: Any, val: Any) -> onnx.ModelProto:
    """Train with the defaults of the search that it comes from."""
    from fleetml.learn import search_space
    from fleetml.learn.neural_trainer import NeuralTrainer
    from fleetml.learn.tabular_trainer import TabularTrainer

    trainer = (NeuralTrainer if cell.data in NETWORKS else TabularTrainer)(train, val, cell.seed)
    chosen = search_space.defaults(trainer.families[cell.data])
    return trainer.train(cell.data, chosen, math.inf, lambda epoch, score: None).graph


def _anomaly(path: Path, cell: Cell) -> tuple[AnomalyData, AnomalyData]:
    from benchmarks.anomaly import ALARMS
    from fleetml.learn.anomaly import training

    train, val, test = _samples(path.parent)
    if not path.exists():
        with aside(path) as temporary:
            onnx.save(training.train(train, val, 48, 8, ALARMS, cell.seed), temporary)
    data, judge = (AnomalyData(onnx.load(path), rows, _tuning(cell), cell.seed) for rows in (val, test))
    judge.judged = test
    return data, judge


def _samples(folder: Path) -> list[Samples]:
    from benchmarks.anomaly import _split
    from fleetml.learn.anomaly import samples

    paths = [folder / f"samples-{name}" for name in ("train", "val", "test")]
    if not paths[-1].exists():
        for part, path in zip(_split(), paths, strict=True):
            part.save(path)
    return [samples.load(path) for path in paths]


def _windows(folder: Path) -> list[Any]:
    from fleetml.learn import windows

    parts = {
        name: Artifact(name, str(folder / name)) for name in ("data", "features", "train", "val", "test", "metrics")
    }
    if not parts["metrics"].path.exists():
        from components.features.features import features
        from components.ingest.ingest import ingest

        ingest(str(REAL), "bitbrains_parquet", 31, "", parts["data"], parts["metrics"])
        split = {name: parts[name] for name in ("data", "features", "train", "val", "test", "metrics")}
        features(**split, target="bandwidth", context=288, horizon=48, test_windows=8, max_windows=4000, seed=0)
        parts["metrics"].path.write_text("done")
    return [windows.load(parts[name].path) for name in ("train", "val", "test")]


if __name__ == "__main__":
    print(json.dumps(compute(Cell.of(sys.argv[1]))))
