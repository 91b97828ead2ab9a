"""Products and squares of numbers that tell more than the numbers alone do, for models that cannot make them."""

import numpy as np
import numpy.typing as npt

from fleetml.learn.builder import Builder

Floats = npt.NDArray[np.float32]
Pairs = list[tuple[int, int]]
_CANDIDATES = 12  # columns of which products are tried
_MOST = 10  # products that are kept
_SURE = 4.0  # standard errors of a correlation by chance that a kept one exceeds
_EXPLAINED = 1e-3  # deviations a linear model leaves of what it explains wholly
_MOST_ROWS, _MOST_COLUMNS = 20_000, 300
_WIDEST = 8.0  # a factor is taken at most so large: serving may send anything


def choose(
    rows: Floats, target: npt.NDArray[np.generic], classes: int, allowed: npt.NDArray[np.bool_] | None = None
) -> Pairs:
    """Return pairs of columns of rows [N, D], best first, whose product goes with what a linear model leaves unexplained.

    `target` [N] holds values, or numbers of `classes` classes (0: a regression). Only columns `allowed` [D] are looked at; of more than
    300 no product is tried: the linear model alone would take longer than what products bring there.
    """
    if allowed is not None and not allowed.all():
        own = np.flatnonzero(allowed).tolist()
        return [(own[one], own[other]) for one, other in choose(rows[:, own], target, classes)]
    if rows.shape[1] > _MOST_COLUMNS:
        return []
    every = max(1, len(rows) // _MOST_ROWS)
    given = np.clip(rows[::every].astype(np.float64), -_WIDEST, _WIDEST)
    now = _standard(given)
    wanted = _wanted(target[::every], classes)
    if len(now) < 10 * now.shape[1]:
        return []
    design = np.hstack([now, np.ones((len(now), 1))])
    wanted = _standard(wanted)
    left = wanted - design @ np.linalg.lstsq(design, wanted, rcond=None)[0]
    left = _standard(np.where(left.std(axis=0) > _EXPLAINED, left, 0))
    strength = np.abs(now.T @ wanted).max(axis=1)
    tried = np.sort(np.argsort(-strength, kind="stable")[:_CANDIDATES]).tolist()
    pairs = [(one, other) for place, one in enumerate(tried) for other in tried[place:]]
    products = _standard(np.stack([given[:, one] * given[:, other] for one, other in pairs], axis=1))
    gains = np.abs(products.T @ left).max(axis=1) / len(now)
    order = np.argsort(-gains, kind="stable")[:_MOST].tolist()
    return [pairs[at] for at in order if gains[at] > _SURE / np.sqrt(len(now))]


def add(made: Builder, name: str, pairs: Pairs) -> str:
    """Add the products [batch, P] of columns of a result [batch, D], each bounded as its factors are."""
    bounded = made.op("Max", made.op("Min", name, made.constant([_WIDEST])), made.constant([-_WIDEST]))
    first, second = (made.columns(bounded, [pair[at] for pair in pairs]) for at in (0, 1))
    return made.op("Mul", first, second)


def _wanted(target: npt.NDArray[np.generic], classes: int) -> npt.NDArray[np.float64]:
    if not classes:
        return target.astype(np.float64).reshape(-1, 1)
    return np.stack([(target == one).astype(np.float64) for one in range(classes)], axis=1)


def _standard(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    deviation = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0))
