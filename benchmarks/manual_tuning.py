"""What AutoML saves beside tuning by hand: evaluations and seconds until it is as good as a documented grid (needs ../shared).

    MINUTES=60 python -m benchmarks manual_tuning

By hand: LightGBM, the 96 points of this grid in its written order, from LightGBM's defaults on, the last line fastest:

| parameter | values | where it is recommended to be tuned |
|---|---|---|
| learning_rate | 0.1, 0.05, 0.02 | LightGBM, "Parameters Tuning", for better accuracy: a small one, with many iterations |
| num_leaves | 31, 15, 63, 127 | the same, "the main parameter to control the complexity" of a leaf-wise tree |
| min_data_in_leaf | 20, 5 | the same, against over-fitting |
| feature_fraction | 1.0, 0.7 | the same, against over-fitting |
| lambda_l2 | 0, 1 | the same, against over-fitting |

The rounds are found by early stopping (at most 1500). Ours: trials of AutoML, one at a time, its portfolio first, 96 at most. What AutoML
answers with is the ensemble of its trials, so that is what counts: after each trial `components.automl.choice.choose` puts those by
then together, judged by nested validation over the same rows (of probabilities with its one temperature), and seconds hold the trials' and the
choice's at that point. Beside it stands the best trial alone. Trials go on until both are as good as the grid's best.
An evaluation is all folds of one configuration (one of ours that is ended after its first fold counts whole), both by
`components.automl.trials.evaluate`, on the same folds of the training rows, with one thread, by the same loss. Whoever tunes by hand knows
the grid's best after all of it: that is the cost ours is compared with; beside it stands how far the walk was when it came upon
that best. A set on which none is as good counts with a ratio of 0. The grid keeps its best point, as one does by hand; no limit of latency
or size is put on either.

Seconds are those of the processor, which the load of the machine changes least. Test scores are of the best configuration by then, fitted to
all training rows, and of the ensemble by then, its members finished as AutoML does (bags of the folds' boosted trees and networks, else
fitted to all rows). That AutoML converges is told of the cells of `benchmarks automl`, the longest budget of each set: the second from which on
the best trial gains less than a thousandth of its distance to the constant; a budget that ends earlier says nothing beyond itself.
Sets and folds are those of `benchmarks.automl` (fold 0). Cells are kept in results/manual_tuning.jsonl; MINUTES (default 60), BENCH_SETS.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import automl, cells
from benchmarks.cells import Cell
from benchmarks.goals import Figure

NAME = "manual_tuning"
GRID = {
    "learning_rate": (0.1, 0.05, 0.02),
    "num_leaves": (31, 15, 63, 127),
    "min_samples_leaf": (20, 5),
    "max_features": (1.0, 0.7),
    "l2": (0.0, 1.0),
}
POINTS = math.prod(map(len, GRID.values()))
HAND, OURS = "grid", "fleetml"
FASTER, CONVERGED = 10.0, 1800.0  # the goals: times, seconds
MEMORY_MB = 4096
ENSEMBLE, ALONE = "the ensemble", "one trial"
EFFORT = 60.0  # seconds AutoML is told: how many folds it makes of so many rows
SETS = {  # seconds that the walk may take on a busy machine; what takes long comes last
    **{"blood-transfusion": 120.0, "concrete": 180.0, "energy": 180.0, "credit-g": 240.0, "airfoil": 240.0},
    **{"kr-vs-kp": 300.0, "vehicle": 480.0, "phoneme": 600.0, "parkinsons": 900.0, "bike": 1200.0},
}
Step = tuple[float, float | None]  # seconds since the beginning; the loss of the evaluation that ended then


def walk() -> Iterator[dict[str, float]]:
    """Yield the points of the grid in its written order."""
    for values in itertools.product(*GRID.values()):
        yield dict(zip(GRID, values, strict=True))


def cell(asked: Cell) -> dict[str, Any]:
    """Return the evaluations of one side on one set, and the test score of each that was the best until then.

    Ours has beside `steps` of single trials those of the ensemble, `together`, and the test score of its last one.
    Raises FileNotFoundError where the grid, which says how good ours has to be, was not walked on this set.
    """
    from components.automl import automl_tabular, given
    from fleetml.learn.tables import table

    automl_tabular.load()
    train, test, target = automl.split(asked.data, asked.fold)
    metric = automl.metric_of(asked.data)
    frame = train.with_columns(pl.lit(table.TRAIN).alias(table.SPLIT))
    features = tuple(table.Feature(name, table.infer(train, name)) for name in train.columns if name != target)
    kind = "regression" if metric == "rmse" else "classification"
    recipe = table.Recipe(target, kind, features)
    problem = given.problem(table.Table(frame, recipe), metric, "", "", EFFORT, 20.0, asked.seed)
    if asked.system == HAND:  # by hand no graph has to be small
        found = _walked(replace(problem, size_limit_mb=math.inf), test)
    else:
        found = _searched(problem, _goal(asked), test)
    return {"metric": metric, **found, "constant": problem.constant()}


def _goal(asked: Cell) -> float:
    """Return the loss of the grid's best on the set of a cell of ours."""
    walked = cells.latest(NAME).get(replace(asked, system=HAND), {"figures": {}})["figures"]
    if "steps" not in walked:
        raise FileNotFoundError(f"the grid must be walked on {asked.data} first, it is not; call the benchmark again")
    return min(loss for _, loss in walked["steps"])


def _walked(problem: Any, test: pl.DataFrame) -> dict[str, Any]:
    from components.automl import portfolio, trials

    steps, made, began = [], [], time.process_time()
    for point in walk():
        chosen = portfolio.hyperparameters(
            "lightgbm", point, len(problem.target), problem.size_limit_mb, problem.about.objective
        )
        made.append(trials.evaluate(problem, "lightgbm", chosen, lambda number, loss: None, math.inf))
        steps.append((round(time.process_time() - began, 2), made[-1].curve[-1]))
    return {"steps": steps, "test": {str(at): _alone(problem, made[at], test) for at in improvements(steps)}}


def _searched(problem: Any, goal: float, test: pl.DataFrame) -> dict[str, Any]:
    from components.automl import portfolio, trials
    from fleetml.learn.study import loop
    from fleetml.learn.study.settings import StudySettings
    from fleetml.learn.study.space import of_ranges
    from fleetml.learn.study.trial import Pruned, Trial

    objective, began = trials.objective(problem), time.process_time()
    steps, together, last = list[Step](), list[Step](), list[Any]()
    losses, files, choosing = dict[int, float](), dict[int, Path](), 0.0

    def timed(trial: Trial) -> float:
        nonlocal choosing
        if reached(steps, goal) is not None and reached(together, goal) is not None:
            raise Pruned("earlier ones are as good")
        try:
            losses[trial.number] = objective(trial)
            files[trial.number] = trial.kept_at
            return losses[trial.number]
        finally:
            spent = time.process_time() - began - choosing
            steps.append((round(spent, 2), losses.get(trial.number)))
            if reached(together, goal) is None:
                begun = time.process_time()
                last[:] = _together(problem, files, losses) if files else []
                choice = time.process_time() - begun
                choosing += choice
                together.append((round(spent + choice, 2), last[1].loss if last else None))

    settings = StudySettings(trials=POINTS, seed=problem.seed)
    families = portfolio.spaces(problem.about.objective)
    found = loop.run(timed, of_ranges(families), settings, portfolio.starts(families, problem.about.objective))
    tests = {str(at): _alone(problem, trials.read(found.kept[at]), test) for at in improvements(steps)}
    return {"steps": steps, "test": tests, "together": together, "together_test": _as_one(problem, *last, test)}


def _together(problem: Any, files: Mapping[int, Path], losses: Mapping[int, float]) -> tuple[dict[int, Any], Any]:
    """Return the trials that answer together, by their number, and how."""
    from components.automl import choice

    found, _ = choice.candidates(problem, files, sorted(files, key=lambda each: losses[each]), MEMORY_MB)
    numbers, chosen = choice.choose(problem, found)
    return {number: found[number] for number in numbers}, chosen


def improvements(steps: Sequence[Step]) -> list[int]:
    """Return the places of the evaluations that were better than all before."""
    best, found = math.inf, []
    for at, (_, loss) in enumerate(steps):
        if loss is not None and loss < best:
            best = loss
            found.append(at)
    return found


def _alone(problem: Any, made: Any, test: pl.DataFrame) -> float:
    """Return the test score of a configuration that is fitted to all training rows."""
    return _judged(problem, _said(problem, made, test, bag=False), test)


def _as_one(problem: Any, members: Mapping[int, Any], chosen: Any, test: pl.DataFrame) -> float:
    """Return the test score of trials that answer together."""
    from components.automl import calibration

    said = chosen.combination.combine([_said(problem, made, test, bag=True) for made in members.values()])
    return _judged(problem, calibration.scaled(said, chosen.temperature) if problem.classifies else said, test)


def _said(problem: Any, made: Any, test: pl.DataFrame, *, bag: bool) -> Any:
    """Return what a configuration says [N, C]: fitted to all rows, or (`bag`) as together with the folds' models where AutoML bags."""
    from components.automl import finish, portfolio, trials
    from fleetml.learn.tables import fit
    from fleetml.learn.tables.members import HEAD_OF
    from fleetml.learn.tables.trained import ALL

    head, said = HEAD_OF[made.algorithm], []
    rows = problem.heads.apply(head, test)
    bagged = bag and made.algorithm in (*portfolio.BOOSTED, *portfolio.NETWORKS)
    folds = [*range(made.count)] if bagged else [ALL]
    if bagged and not problem.classifies and made.algorithm in portfolio.BOOSTED:
        folds.append(ALL)
    for fold in folds:
        columns = problem.heads.trained[head].columns(fold)
        model = trials.refitted(problem, made) if fold == ALL else made.model(fold)
        said.append(fit.outputs(model, rows if columns is None else rows[:, columns], problem.classifies))
    return np.average(said, axis=0, weights=finish.shares(folds))


def _judged(problem: Any, said: Any, test: pl.DataFrame) -> float:
    said = np.asarray(said, dtype=float)
    if not problem.classifies:
        said = said * problem.about.scale[1] + problem.about.scale[0]
    classes = [str(each) for each in problem.about.classes]
    return automl.judged(problem.metric, test[problem.about.target], said, classes)


def reached(steps: Sequence[Step], target: float) -> int | None:
    """Return the place of the first evaluation that is as good as `target`."""
    return next((at for at, (_, loss) in enumerate(steps) if loss is not None and loss <= target), None)


def converged() -> dict[str, tuple[float, float]]:
    """Return by set the second when AutoML had converged, the latest of its longest budget, and that budget [s]."""
    found: dict[str, tuple[float, float]] = {}
    for each, line in sorted(cells.latest("automl").items(), key=lambda item: item[0].budget):
        if each.system == OURS and math.isfinite(second := line["figures"].get("converged", math.nan)):
            before = found.get(each.data, (0.0, 0.0))
            found[each.data] = (max(second, before[0]) if before[1] == each.budget else second, each.budget)
    return found


def run() -> Iterator[Figure]:
    """Compute what is missing, then yield what both sides needed."""
    sets = os.environ.get("BENCH_SETS", ",".join(SETS)).split(",")
    if unknown := [data for data in sets if data not in SETS]:
        raise ValueError(f"BENCH_SETS are some of {', '.join(SETS)}, got {unknown[0]!r}; correct it")
    wanted = [Cell(NAME, system, data, 0, 0, SETS[data]) for data in sets for system in (HAND, OURS)]
    minutes = float(os.environ.get("MINUTES", "60"))
    command = [sys.executable, "-m", "benchmarks.manual_tuning"]
    print(f"{NAME}: {cells.run(wanted, lambda cell: [*command, cell.text], NAME, minutes, lanes=1)}", flush=True)
    known = {each: line["figures"] for each, line in cells.latest(NAME).items() if each in wanted}
    yield from report({(each.data, each.system): it for each, it in known.items() if "failed" not in it}, len(SETS))


def report(done: Mapping[tuple[str, str], Mapping[str, Any]], wanted: int) -> Iterator[Figure]:
    """Yield the figures of each set that both sides were done on, and the goals, by the ensemble; of `wanted` sets all must be."""
    ratios: dict[str, list[tuple[float, ...]]] = {ENSEMBLE: [], ALONE: []}
    for data in dict.fromkeys(data for data, _ in done):
        if {(data, HAND), (data, OURS)} <= set(done):
            for incumbent, known in ratios.items():
                found, ratio = _of_set(data, incumbent, done[data, HAND], done[data, OURS])
                yield from found
                known.append(ratio)
    names = ("evaluations", "seconds", "evaluations, beside the walk until its best", "seconds, beside the same")
    for incumbent, known in ratios.items():
        for at, name in enumerate(names if known else ()):
            middle = float(np.median([ratio[at] for ratio in known]))
            told = _told(middle >= FASTER, len(known), wanted, f"at least {FASTER:g}")
            yield f"{incumbent}: median ratio of {name}", middle, told if at < 2 and incumbent == ENSEMBLE else "times"
        if known:
            never = sum(not ratio[0] for ratio in known)
            yield f"{incumbent}: sets whose grid was not reached", float(never), f"of {len(known)}"
    if spent := converged():
        slowest, least = max(second for second, _ in spent.values()), min(budget for _, budget in spent.values())
        told = _told(slowest < CONVERGED, len(spent), len(SETS), f"below {CONVERGED:g}")
        yield "AutoML converges, the slowest set", slowest, f"s, of budgets of {least:g} s and more {told}"


def _told(good: bool, done: int, wanted: int, goal: str) -> str:
    missing = f", {wanted - done} sets are missing" if done < wanted else ""
    return f"({'met' if good and not missing else 'NOT MET'}: {goal}{missing})"


def _of_set(
    data: str, incumbent: str, hand: Mapping[str, Any], ours: Mapping[str, Any]
) -> tuple[list[Figure], tuple[float, ...]]:
    """Return the figures, and by what the grid's evaluations and seconds, the whole's and until its best, exceed ours."""
    top, steps = improvements(hand["steps"])[-1], ours["together" if incumbent == ENSEMBLE else "steps"]
    at, last, metric = reached(steps, hand["steps"][top][1]), improvements(steps)[-1], hand["metric"]
    name, best = f"{data}: {incumbent}, until as good", f"(its best is number {top + 1})"
    score = ours["together_test"] if incumbent == ENSEMBLE else ours["test"][str(last if at is None else at)]
    tests = [(f"{data}: test, {incumbent} by then", score, f"{metric}, the grid's best {hand['test'][str(top)]:.5g}")]
    seconds = [hand["steps"][-1][0], hand["steps"][top][0]]
    if at is None:
        worse = steps[last][1] / hand["steps"][top][1] - 1
        return [(name, math.inf, f"evaluations: NEVER as good as the grid, {worse:.2%} more loss"), *tests], (0.0,) * 4
    spent = steps[at][0]
    figures = [
        (name, at + 1.0, f"evaluations, grid {POINTS} {best}"),
        (name, spent, f"s, grid {seconds[0]:.0f} s (its best after {seconds[1]:.0f} s)"),
    ]
    ratios = POINTS / (at + 1), seconds[0] / spent, (top + 1) / (at + 1), seconds[1] / spent
    return [*figures, *tests], ratios


if __name__ == "__main__":
    print(json.dumps(cell(Cell.of(sys.argv[1]))))
