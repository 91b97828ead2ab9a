"""AutoML beside FLAML, AutoGluon and plain LightGBM on the same folds, with the same seconds and cores (needs ../shared, .venv/peers-automl).

    BENCH_MINUTES=50 python -m benchmarks automl

Sets: tabular_amlb (5 stratified folds of ours) and uci_regression (its own). Score: AUC of two classes, log loss of more, RMSE of numbers;
normalised, (score - constant) / (best - constant) of a cell. Cells are kept in results/automl.jsonl and not done again; `BENCH_MINUTES`
(default 60) is what a call takes at most. BENCH_SETS, BENCH_SYSTEMS (comma-separated), BENCH_FOLDS, BENCH_SEEDS, BENCH_SECONDS choose others
than the 10 sets, {fleetml, flaml, autogluon medium_quality, lightgbm}, 2 folds, 1 seed, 60 s. "autogluon medium_quality limited" is a
system, too: with infer_limit .01 s for one row; so is "autogluon good_quality".
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import automl_report, cells
from benchmarks.automl_report import OURS, Score
from benchmarks.cells import Cell

DATA = Path(__file__).parents[2] / "shared/data"
PEER = Path(__file__).parents[1] / ".venv/peers-automl/bin/python"
CLASSES = {"credit-g": 2, "kr-vs-kp": 2, "phoneme": 2, "blood-transfusion": 2, "vehicle": 4}
REGRESSIONS = ("airfoil", "concrete", "energy", "bike", "parkinsons")
SYSTEMS = ("fleetml", "flaml", "autogluon medium_quality", "lightgbm")
RUNS, ROUNDS = 60, 3  # of one row, as the peers'


def run() -> Iterator[tuple[str, float, str]]:
    """Yield what the cells done so far say, after those that `BENCH_MINUTES` sufficed for."""
    if not (DATA / "uci_regression").exists():
        raise FileNotFoundError(f"the sets must lie in {DATA}")
    name = os.environ.get("BENCH_RESULTS", "automl")
    wanted = _cells()
    check(wanted, PEER)
    done = cells.run(wanted, _command, name, float(os.environ.get("BENCH_MINUTES", "60")), lanes=2)
    known = cells.latest(name)
    yield done, float(sum(each in known for each in wanted)), "cells"
    yield from automl_report.report({each: known[each] for each in wanted if each in known})


def check(wanted: Sequence[Cell], python: Path) -> None:
    """Raises FileNotFoundError where the environment of the peers that are asked for is not there."""
    if not python.exists() and (peers := sorted({each.system for each in wanted} - {OURS})):
        raise FileNotFoundError(
            f"{', '.join(peers)} run in .venv/peers-automl, which is not there; make it with `uv venv -p 3.11 .venv/peers-automl` and "
            "`uv pip install -p .venv/peers-automl -r benchmarks/requirements/automl.in`, or set BENCH_SYSTEMS=fleetml"
        )


def _cells() -> list[Cell]:
    def many(name: str, default: str) -> list[str]:
        return [each.strip() for each in os.environ.get(name, default).split(",")]

    sets = many("BENCH_SETS", ",".join((*CLASSES, *REGRESSIONS)))
    folds, seeds = int(os.environ.get("BENCH_FOLDS", "2")), int(os.environ.get("BENCH_SEEDS", "1"))
    seconds = float(os.environ.get("BENCH_SECONDS", "60"))
    return [  # the systems of one fold beside each other: what is interrupted compares like with like
        Cell("automl", system, data, fold, seed, seconds)
        for fold in range(folds)
        for seed in range(seeds)
        for data in sets
        for system in many("BENCH_SYSTEMS", ",".join(SYSTEMS))
    ]


def _command(cell: Cell) -> list[str]:
    return [sys.executable, "-m", "benchmarks.automl", cell.text]


def split(data: str, fold: int) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    """Return training and test rows of a fold, and the target's name."""
    if data in REGRESSIONS:
        frame = pl.read_parquet(DATA / "uci_regression" / f"{data}.parquet")
        test = frame["test_fold"] == fold
        frame, target = frame.drop("test_fold"), "y"
    else:
        from sklearn.model_selection import StratifiedKFold

        frame = pl.read_csv(DATA / "tabular_amlb" / f"{data}.csv.gz", null_values=["?"], infer_schema_length=None)
        target = "target"
        folds = list(
            StratifiedKFold(5, shuffle=True, random_state=0).split(np.zeros(len(frame)), frame[target].to_list())
        )
        test = pl.Series(np.isin(np.arange(len(frame)), folds[fold][1]))
    return frame.filter(~test), frame.filter(test), target


def metric_of(data: str) -> str:
    """Return the metric a set is judged by."""
    return "rmse" if data in REGRESSIONS else "roc_auc" if CLASSES[data] == 2 else "log_loss"


def judged(metric: str, truth: pl.Series, said: Any, classes: list[str]) -> float:
    """Return the score of answers [N] or probabilities [N, C], whose columns are `classes`."""
    said = np.asarray(said, dtype=float)
    if metric == "rmse":
        return float(np.sqrt(((truth.cast(pl.Float64).to_numpy() - said.ravel()) ** 2).mean()))
    places = {each: at for at, each in enumerate(classes)}
    codes = np.array([places[str(each)] for each in truth.to_list()])
    if metric == "log_loss":
        said = np.clip(said, 1e-7, 1) / np.clip(said, 1e-7, 1).sum(axis=1, keepdims=True)
        return float(-np.log(said[np.arange(len(codes)), codes]).mean())
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(codes, said[:, 1]))


def accuracy(truth: pl.Series, said: Any, classes: list[str]) -> float:
    """Return the share of rows whose most probable class, of probabilities [N, C], is the true one."""
    named = np.array(classes)[np.asarray(said, dtype=float).argmax(axis=1)]
    return float((named == np.array([str(each) for each in truth.to_list()])).mean())


def constant(metric: str, train: pl.Series, test: pl.Series) -> float:
    """Return the score of the best constant."""
    if metric == "roc_auc":
        return 0.5
    if metric == "rmse":
        return judged(metric, test, np.full(len(test), train.cast(pl.Float64).mean()), [])
    names = sorted(str(each) for each in train.unique().to_list())
    shares = np.array([(train.cast(pl.String) == name).mean() for name in names])
    return judged(metric, test, np.tile(shares, (len(test), 1)), names)


def cell(asked: Cell) -> Score:
    """Return the figures of one cell; run in a process of its own."""
    train, test, target = split(asked.data, asked.fold)
    metric = metric_of(asked.data)
    with tempfile.TemporaryDirectory() as folder:
        compute = _ours if asked.system == OURS else _peer
        said, found = compute(asked, train, test, target, metric, Path(folder))
    score = judged(metric, test[target], said, classes := found.pop("classes"))
    if metric != "rmse":
        found["accuracy"] = accuracy(test[target], said, classes)
    return {"metric": metric, "score": score, "constant": constant(metric, train[target], test[target]), **found}


def _ours(
    asked: Cell, train: pl.DataFrame, test: pl.DataFrame, target: str, metric: str, folder: Path
) -> tuple[Any, Score]:
    from components.automl import automl_tabular
    from fleetml.component import Artifact
    from fleetml.learn.tables import table
    from fleetml.learn.tables.model import TabularModel

    automl_tabular.load()  # the peers' imports are not timed either
    frame = train.with_columns(pl.lit(table.TRAIN).alias(table.SPLIT))
    features = tuple(table.Feature(name, table.infer(train, name)) for name in train.columns if name != target)
    kind = "regression" if metric == "rmse" else "classification"
    made = {
        name: Artifact(name, str(folder / name)) for name in ("dataset", "model", "leaderboard", "report", "metrics")
    }
    table.write(table.Table(frame, table.Recipe(target, kind, features)), made["dataset"].path)
    begun = time.perf_counter()
    workers = len(os.sched_getaffinity(0))
    automl_tabular.automl_tabular(**made, timeout_seconds=asked.budget, workers=workers, metric=metric, seed=asked.seed)
    seconds = time.perf_counter() - begun
    model, card = TabularModel(made["model"].path), made["model"].metadata["card"]
    answer = model.predict(test)
    p50, p99 = _timed(model, test[:1])
    said = answer.probabilities if answer.probabilities is not None else answer.prediction
    found = {
        "fit_seconds": seconds,
        "one_graph": True,
        "p50_ms": p50,
        "p99_ms": p99,
        **{name: card[name] for name in ("size_bytes", "trials", "members", "budget_met", "reason")},
        "version": ", ".join(card["families"]),
        "converged": _converged(pl.read_parquet(made["leaderboard"].path)),
        "classes": [str(each) for each in model.about.classes],
    }
    return said, found


def _timed(model: Any, row: pl.DataFrame) -> tuple[float, float]:
    """Return p50 and p99 [ms] of one row of a table, its conversion included, as benchmarks/automl_peers.py takes them."""
    best = (math.inf, math.inf)
    for _ in range(ROUNDS):
        times = []
        for _ in range(RUNS):
            begun = time.perf_counter()
            model.predict(row)
            times.append((time.perf_counter() - begun) * 1e3)
        best = min(best, (float(np.quantile(times, 0.5)), float(np.quantile(times, 0.99))))
    return best


def _converged(board: pl.DataFrame) -> float:
    """Return the second after which the best trial's loss falls by less than a thousandth of its distance to the constant's."""
    done = board.filter(pl.col("ended").is_not_null()).sort("ended")
    if not len(done):
        return math.nan
    base, least = board.filter(pl.col("name") == "constant")["loss"][0], done["loss"].cum_min()
    near = least <= least[-1] + 1e-3 * max(0.0, base - least[-1])
    return float(done["ended"][int(near.arg_max() or 0)])


def _peer(
    asked: Cell, train: pl.DataFrame, test: pl.DataFrame, target: str, metric: str, folder: Path
) -> tuple[Any, Score]:
    train.write_parquet(folder / "train.parquet")
    test.write_parquet(folder / "test.parquet")
    given = {
        "system": asked.system,
        "train": str(folder / "train.parquet"),
        "test": str(folder / "test.parquet"),
        "target": target,
        "classes": CLASSES.get(asked.data, 0),
        "metric": metric,
        "budget": asked.budget,
        "seed": asked.seed,
        "cores": len(os.sched_getaffinity(0)),
        "folder": str(folder),
    }
    done = subprocess.run(
        [str(PEER), str(Path(__file__).with_name("automl_peers.py")), json.dumps(given)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    found = json.loads((folder / "said.json").read_text())
    return found.pop("said"), {**found, "one_graph": False}


if __name__ == "__main__":
    print(json.dumps(cell(Cell.of(sys.argv[1]))))
