"""When a fold's model would have stopped if its held rows had not been seen: as the other folds' held rows say.

A model that is fitted in steps is best stopped by rows it does not learn from. Judged by the same rows it looks better than it is
(credit-g, 800 rows: by 0.006 to 0.017 of a log loss of 0.5, as much as good trials differ by), and a tenth of the rows kept back for
stopping makes models worse (vehicle: by 2 to 5 % of the log loss). So the folds' models stop by their held rows, as they are finished
with, and each is judged as it was after as many steps as the other folds were best at on average.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.automl import portfolio
from components.automl.losses import Said
from fleetml.learn.tables.fit import Floats, Step, outputs
from fleetml.learn.tables.trained import Places

STOP_SHARE, LEAST_STOP = 10, 5  # one row in so many stops a model that has no other folds; that many at least


@dataclass(frozen=True)
class Watched:
    """One fold's model by its held rows: what it says there, and of one fitted in steps its error after each and what it said then."""

    said: Said
    errors: Sequence[float] = ()
    after: Callable[[int], Said] | None = None


def watched(algorithm: str, model: Any, steps: Sequence[Step], rows: Floats, classifies: bool) -> Watched:
    """Return a fitted model and its `steps`, as `fit.fit` told them, on its held rows [H, F]."""
    said = outputs(model, rows, classifies).astype(np.float64)
    if algorithm in portfolio.BOOSTED:
        errors = _errors(model)
        return Watched(said, errors, lambda count: _boosted(model, count, rows, classifies).astype(np.float64))
    if steps:
        return Watched(said, [each.error for each in steps], lambda count: steps[count - 1].said.astype(np.float64))
    return Watched(said)


def judged(folds: Sequence[Watched]) -> list[Said]:
    """Return what the model of each fold says of its held rows [H, C], stopped as the other folds say; as it is where it is alone."""
    if len(folds) < 2 or any(each.after is None for each in folds):
        return [each.said for each in folds]
    longest = max(len(each.errors) for each in folds)
    curves = np.array([[*each.errors, *[each.errors[-1]] * (longest - len(each.errors))] for each in folds])
    found = []
    for number, each in enumerate(folds):
        best = int(np.delete(curves, number, axis=0).mean(axis=0).argmin()) + 1
        assert each.after is not None  # noqa: S101 - seen above
        found.append(each.after(min(best, len(each.errors))))
    return found


def kept_back(
    train: Places, target: Any, classifies: bool, together: Places | None = None, ordered: bool = False
) -> tuple[Places, Places]:
    """Return the rows to fit and those to stop by: of each class (of values: of all) one row in ten, spread evenly; none where rows are few.

    Of what belongs `together` [N] whole groups are kept back, about a tenth of the rows, and where these are moments, `ordered`, the latest;
    none where that would leave a class without a row to fit.
    """
    if together is not None:
        stop = _latest(together[train]) if ordered else _groups(together[train])
        enough = stop.sum() >= LEAST_STOP and not stop.all()
        learnt = not classifies or len(np.unique(target[train[~stop]])) == len(np.unique(target[train]))
        return (train[~stop], train[stop]) if enough and learnt else (train, train[:0])
    kinds = target[train] if classifies else np.zeros(len(train), np.int64)
    order = np.argsort(kinds, kind="stable")
    place = np.empty(len(train), np.int64)
    for kind in np.unique(kinds):
        mine = order[kinds[order] == kind]
        place[mine] = np.arange(len(mine))
    stop = place % STOP_SHARE == STOP_SHARE - 1
    return (train[~stop], train[stop]) if stop.sum() >= LEAST_STOP else (train, train[:0])


def _latest(moments: Places) -> Any:
    """Return which rows are of the latest moments, at least a tenth of all; a moment is not divided."""
    return moments >= np.sort(moments)[-max(1, len(moments) // STOP_SHARE)]


def _groups(codes: Places) -> Any:
    """Return which rows are of the groups kept back: as many as a tenth of the rows holds, one at least, in an order that tells nothing."""
    names, sizes = np.unique(codes, return_counts=True)
    order = np.random.default_rng(0).permutation(len(names))
    within = np.cumsum(sizes[order]) <= len(codes) // STOP_SHARE
    chosen = order[: max(1, int(within.sum()))]
    if not within.any():  # all in question are larger than a tenth: the smallest is the least that can be spared
        chosen = np.array([int(sizes.argmin())])
    return np.isin(codes, names[chosen])


def _errors(model: Any) -> Sequence[float]:
    """Return the error after each round, of LightGBM and XGBoost alike."""
    told = getattr(model, "evals_result_", None) or model.evals_result()
    (curve,) = next(iter(told.values())).values()
    return [float(each) for each in curve]


def _boosted(model: Any, count: int, rows: Floats, classifies: bool) -> Floats:
    ask = model.predict_proba if classifies else model.predict
    lightgbm = hasattr(model, "booster_")
    said = ask(rows, num_iteration=count) if lightgbm else ask(rows, iteration_range=(0, count))
    return np.asarray(said, np.float32).reshape(len(rows), -1)
