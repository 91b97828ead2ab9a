"""Which members answer together: weights by greedy selection, or a stacked layer, judged on rows their members had not seen."""

import math
import time
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from components.automl.losses import Loss, Said, Truth
from fleetml.learn.tables.assemble import Combination, Stacking, Weights, stacked

Floats = npt.NDArray[np.float64]
ROUNDS, BAGS, SHARE = 30, 5, 0.5
LEAST_WEIGHT = 0.02  # a member costs time in each answer
NESTED = 5
_STUCK = 5  # rounds without a better point that end a way


def combined(said: Sequence[Said], by: Combination) -> Said:
    """Return what members say together, of each [N, C]."""
    return by.combine([each.astype(np.float32) for each in said]).astype(np.float64)


def greedy(said: Sequence[Said], truth: Truth, loss: Loss, seed: int, deadline: float = math.inf) -> Weights:
    """Return the weights of members; most are 0.

    Caruana et al., 2004: whichever lowers the loss most joins, with replacement, the best point of the way is kept; and again with
    half of the members, drawn at random, whose weights are averaged. Where the best single one is better than that, as where few
    members of which one is far the best are drawn from, the way among all is taken; the best single one where that is no better
    either, and where none could be joined before `deadline` [monotonic s].
    """
    every = np.stack(said)
    alone = np.array([loss(truth, each) for each in every])
    random = np.random.default_rng(seed)
    ways = []
    for bag in range(BAGS):
        drawn = np.arange(len(every))
        if bag and len(every) > 3:
            drawn = np.sort(random.choice(drawn, max(2, int(SHARE * len(every))), replace=False))
        ways.append(_way(every, drawn, truth, loss, deadline))
    for made in (np.sum(ways, axis=0), ways[0]):
        if made.any():
            weights = made / made.sum()
            weights[weights < LEAST_WEIGHT] = 0
            weights /= weights.sum()
            if loss(truth, np.tensordot(weights, every, axes=1)) <= alone.min():
                return Weights(tuple(weights.tolist()))
    return Weights(tuple(np.eye(len(every))[int(alone.argmin())].tolist()))


def _way(every: Floats, drawn: npt.NDArray[np.int64], truth: Truth, loss: Loss, deadline: float) -> Floats:
    counts, total = np.zeros(len(every)), np.zeros_like(every[0])
    best, least, since = counts.copy(), np.inf, 0
    for size in range(1, ROUNDS + 1):
        if time.monotonic() > deadline:
            break
        losses = [loss(truth, (total + every[each]) / size) for each in drawn]
        chosen = drawn[int(np.argmin(losses))]
        counts[chosen] += 1
        total = total + every[chosen]
        if min(losses) < least:
            best, least, since = counts / size, min(losses), 0
        elif (since := since + 1) > _STUCK:
            break
    return best


def stack(said: Sequence[Said], truth: Truth, strength: float = 0.1) -> Stacking:
    """Return the layer fitted to members' log-probabilities: multinomial logistic regression (L2, C = `strength`).

    `truth` must hold every class.
    """
    from sklearn.linear_model import LogisticRegression

    rows, classes = stacked([each.astype(np.float32) for each in said], True), said[0].shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=strength, max_iter=200).fit(rows, truth)
    matrix, bias = model.coef_.T, model.intercept_
    if classes == 2:  # sklearn's one score is that of the second class
        matrix, bias = np.concatenate([np.zeros_like(matrix), matrix], axis=1), np.array([0.0, bias[0]])
    return Stacking(matrix.astype(np.float32), bias.astype(np.float32), True)


def least_squares(said: Sequence[Said], truth: Truth) -> Weights:
    """Return the weights of values, not negative, with the least squared error (Lawson and Hanson), made to sum to 1."""
    from scipy.optimize import nnls

    weights, _ = nnls(np.concatenate(list(said), axis=1), truth.astype(np.float64))
    total = float(weights.sum())
    return Weights(tuple((weights / total if total > 0 else np.full(len(weights), 1 / len(weights))).tolist()))


def fitted(said: Sequence[Said], truth: Truth) -> Combination:
    """Return what is fitted to all members at once: a stacked layer of classes, least squares of values."""
    return stack(said, truth) if said[0].shape[1] > 1 else least_squares(said, truth)


def nested(
    said: Sequence[Said], truth: Truth, loss: Loss, seed: int, *, layer: bool, deadline: float = math.inf
) -> Said:
    """Return what greedy weights (or what is `fitted`) say [N, C] of rows of which they were not made, part by part."""
    part = _dealt(truth, said[0].shape[1] > 1, seed)
    answers = np.zeros_like(said[0])
    for each in range(NESTED):
        seen, rows = [one[part != each] for one in said], truth[part != each]
        by = fitted(seen, rows) if layer else greedy(seen, rows, loss, seed, deadline)
        answers[part == each] = combined([one[part == each] for one in said], by)
    return answers


def layered(truth: Truth, classes: int) -> bool:
    """Say whether a layer can be fitted without any part of `nested`: each class has a row in two parts, as a class is dealt out."""
    return classes < 2 or int(np.bincount(truth, minlength=classes).min()) > 1


def _dealt(truth: Truth, classifies: bool, seed: int) -> npt.NDArray[np.int64]:
    """Return the part [N] of each row, at random; the rows of a class evenly."""
    order = np.random.default_rng(seed).permutation(len(truth))
    if classifies:
        order = order[np.argsort(truth[order], kind="stable")]
    part = np.empty(len(truth), np.int64)
    part[order] = np.arange(len(truth)) % NESTED
    return part
