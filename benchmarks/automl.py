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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import cells
from benchmarks.cells import Cell

DATA = Path(__file__).parents[2] / "shared/data"
PEER = Path(__file__).parents[1] / ".venv/peers-automl/bin/python"
CLASSES = {"credit-g": 2, "kr-vs-kp": 2, "phoneme": 2, "blood-transfusion": 2, "vehicle": 4}
REGRESSIONS = ("airfoil", "concrete", "energy", "bike", "parkinsons")
SYSTEMS = ("fleetml", "flaml", "autogluon medium_quality", "lightgbm")
LATENCY_MS = 10.0
RUNS, ROUNDS = 60, 3  # of one row, as the peers'
OURS = "fleetml"
Score = dict[str, Any]


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
    yield from _report({each: known[each] for each in wanted if each in known})


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
    score = judged(metric, test[target], said, found.pop("classes"))
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


def _report(done: Mapping[Cell, Mapping[str, Any]]) -> Iterator[tuple[str, float, str]]:
    systems = list(dict.fromkeys(each.system for each in done))
    rows: dict[tuple[str, int, int], dict[str, Score]] = {}
    for each, line in done.items():
        rows.setdefault((each.data, each.fold, each.seed), {})[each.system] = line["figures"]
    whole = {key: found for key, found in rows.items() if set(found) == set(systems)}
    sets = list(dict.fromkeys(data for data, _, _ in whole))
    for data in sets:
        yield from _of_set(data, systems, [found for key, found in whole.items() if key[0] == data])
    if not sets:
        return
    places = {system: [_mean(_ranks(whole, data, systems)[system]) for data in sets] for system in systems}
    for system in systems:
        low, high = _interval(places[system])
        yield (
            f"{system}: mean rank over {len(sets)} sets",
            _mean(places[system]),
            f"of {len(systems)} (95 %: {low:.2f} to {high:.2f})",
        )
        yield f"{system}: normalised score, mean", _mean([_normal(whole, data, system) for data in sets]), ""
        scored = [found[system] for found in whole.values()]
        yield (
            f"{system}: one ONNX graph, p99 at most {LATENCY_MS:g} ms",
            _mean([_deployable(each) for each in scored]),
            "share of cells",
        )
        yield (
            f"{system}: p99 of one row at most {LATENCY_MS:g} ms",
            _mean([_quick(each) for each in scored]),
            "share of cells",
        )
        yield (
            f"{system}: seconds of the fit, the most",
            max((each.get("fit_seconds", math.inf) for each in scored), default=0.0),
            "s",
        )
    yield from _goals(whole, sets, places)


def _of_set(data: str, systems: list[str], found: list[dict[str, Score]]) -> Iterator[tuple[str, float, str]]:
    for system in systems:
        scores = [each[system]["score"] for each in found if "score" in each[system]]
        failed = len(found) - len(scores)
        yield f"{data}: {system}", _mean(scores), metric_of(data) + (f" ({failed} failed)" if failed else "")


def _worth(found: Score) -> float:
    """Return a score of which more is better; minus infinity of what failed."""
    if "score" not in found:
        return -math.inf
    return found["score"] if found["metric"] == "roc_auc" else -found["score"]


def _ranks(whole: Mapping[Any, dict[str, Score]], data: str, systems: list[str]) -> dict[str, list[float]]:
    from scipy.stats import rankdata

    ranks: dict[str, list[float]] = {system: [] for system in systems}
    for key, found in whole.items():
        if key[0] == data:
            for system, rank in zip(systems, rankdata([-_worth(found[system]) for system in systems]), strict=True):
                ranks[system].append(float(rank))
    return ranks


def _normal(whole: Mapping[Any, dict[str, Score]], data: str, system: str) -> float:
    """Return (score - constant) / (best - constant), the mean over the cells of a set; a failure is 0, what is worse too."""
    values = []
    for key, found in whole.items():
        if key[0] == data:
            base = (
                _worth(
                    found[system] | {"score": next(each["constant"] for each in found.values() if "constant" in each)}
                )
                if "score" in found[system]
                else 0.0
            )
            best = max(_worth(each) for each in found.values())
            values.append(
                max(0.0, (_worth(found[system]) - base) / (best - base))
                if "score" in found[system] and best > base
                else 0.0
            )
    return _mean(values)


def _quick(found: Score) -> bool:
    return found.get("p99_ms", math.inf) <= LATENCY_MS


def _deployable(found: Score) -> bool:
    return bool(found.get("one_graph")) and _quick(found)


def _goals(
    whole: Mapping[Any, dict[str, Score]], sets: list[str], places: Mapping[str, list[float]]
) -> Iterator[tuple[str, float, str]]:
    if OURS not in places:
        return
    mine = _mean(places[OURS])
    if "flaml" in places:
        met = mine < _mean(places["flaml"])
        yield "goal: mean rank ahead of FLAML's", mine - _mean(places["flaml"]), _told(met, whole, "flaml")
    for other in (name for name in places if name.startswith("autogluon")):
        yield f"beside {other}, whatever its latency: mean rank", mine - _mean(places[other]), "less is better"
        pair = [OURS, other]
        limited = {
            key: {name: found[name] if _quick(found[name]) else {} for name in pair} for key, found in whole.items()
        }
        ours, theirs = ([_mean(_ranks(limited, data, pair)[name]) for data in sets] for name in pair)
        yield (
            f"goal: rank ahead of {other} under p99 of {LATENCY_MS:g} ms (what exceeds it has failed)",
            _mean(ours) - _mean(theirs),
            _told(_mean(ours) < _mean(theirs), whole, other),
        )
        wins = sum(_worth(found[OURS]) > _worth(found[other]) for found in whole.values())
        ties = sum(_worth(found[OURS]) == _worth(found[other]) for found in whole.values())
        yield f"cells won against {other}", float(wins), f"of {len(whole)}, {ties} ties"


def _told(met: bool, whole: Mapping[Any, dict[str, Score]], other: str) -> str:
    """Return whether a goal is met; it is not while cells of the other one have failed, which say nothing of how good it is."""
    failed = sum("score" not in found[other] for found in whole.values())
    return f"NOT MET: {failed} cells of {other} failed" if failed else "met" if met else "NOT MET"


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _interval(values: list[float], draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % interval of a mean over sets, by the bootstrap."""
    random = np.random.default_rng(0)
    means = random.choice(values, (draws, len(values))).mean(axis=1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


if __name__ == "__main__":
    print(json.dumps(cell(Cell.of(sys.argv[1]))))
