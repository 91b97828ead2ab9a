"""Which columns a graph's answers depend on: asked of the graph itself, preparation and ensemble included."""

import time
from collections.abc import Mapping

import numpy as np
import polars as pl

from components.automl.losses import Loss, Said, Truth
from fleetml.learn.tables.model import Predicted, TabularModel

REPEATS, MOST_ROWS, LEAST_ROWS, MOST_CELLS = 20, 500, 50, 100_000
WALKS, BACKGROUND_ROWS, MOST_WALKED = 4, 60, 200


def answers(model: TabularModel, said: Predicted) -> Said:
    """Return probabilities [N, C], or standardised values [N, 1]."""
    if said.probabilities is not None:
        return said.probabilities.astype(np.float64)
    mean, deviation = model.about.scale
    return ((said.prediction.astype(np.float64) - mean) / deviation)[:, None]


def permutation(
    model: TabularModel, frame: pl.DataFrame, truth: Truth, loss: Loss, seed: int, deadline: float
) -> Mapping[str, float]:
    """Return by how much the loss rises when a column's values are dealt out anew (Breiman, 2001), the mean of 20 times.

    At most 500 rows, fewer of many columns; columns that do not fit before `deadline` [monotonic s] are left out.
    """
    random = np.random.default_rng(seed)
    most = min(MOST_ROWS, max(LEAST_ROWS, MOST_CELLS // len(model.about.features)))
    rows = np.sort(random.permutation(len(frame))[:most])
    frame, truth = frame[rows], truth[rows]
    begun = time.monotonic()
    if begun > deadline:
        return {}
    base = loss(truth, answers(model, model.predict(frame)))
    found, one = {}, REPEATS * (time.monotonic() - begun)
    for feature in model.about.features:
        if time.monotonic() + one > deadline:
            break
        column = frame[feature.name]
        dealt = pl.concat([column[random.permutation(len(frame))] for _ in range(REPEATS)])
        many = pl.concat([frame] * REPEATS).with_columns(dealt.alias(feature.name))
        said = answers(model, model.predict(many)).reshape(REPEATS, len(frame), -1)
        found[feature.name] = float(np.mean([loss(truth, each) for each in said])) - base
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def shapley(model: TabularModel, frame: pl.DataFrame, seed: int, deadline: float) -> Mapping[str, float]:
    """Return the mean absolute Shapley value of each column, by sampling (Štrumbelj and Kononenko, 2014).

    A row's columns replace those of another one in a random order; what the answer changes by is the column's share. Of classes the
    answer is the probability of each, the mean over them. {} of more than 200 columns, and where not one walk fits before `deadline` [monotonic s].
    """
    random = np.random.default_rng(seed)
    names = [feature.name for feature in model.about.features]
    if len(names) > MOST_WALKED:
        return {}
    frame, rows = frame.select(names), min(BACKGROUND_ROWS, len(frame))
    total, walks = np.zeros((rows, len(names))), 0
    asked = random.permutation(len(frame))[:rows]
    begun = time.monotonic()
    if begun < deadline:
        model.predict(frame[asked])
    walk = (len(names) + 1) * (time.monotonic() - begun)
    while walks < WALKS and time.monotonic() + walk < deadline:
        order, other = random.permutation(len(names)), random.integers(0, len(frame), rows)
        steps = [frame[other]]
        for at in order:
            steps.append(steps[-1].with_columns(frame[asked][names[at]]))
        said = answers(model, model.predict(pl.concat(steps))).reshape(len(steps), rows, -1)
        changes = np.diff(said, axis=0)  # [F, rows, C]
        sign = changes[:, :, -1] if changes.shape[2] <= 2 else np.abs(changes).mean(axis=2)
        total[:, order] += sign.T
        walks += 1
    if not walks:
        return {}
    values = np.abs(total / walks).mean(axis=0)
    return dict(sorted(zip(names, values.tolist(), strict=True), key=lambda item: -item[1]))
