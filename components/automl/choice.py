"""Which trials answer together, and how: by what they said of rows their models had not seen."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.automl import calibration, ensemble, trials
from components.automl.given import Problem
from components.automl.losses import Said
from components.automl.trials import Evaluated
from fleetml.learn.tables.assemble import Combination, Weights

MOST_CANDIDATES, MOST_ROWS = 30, 10_000  # of which is chosen, by which is chosen
COPIES = 2  # of the candidates' answers in memory
MOST_VARIED = 10


@dataclass(frozen=True)
class Chosen:
    """How trials answer together; `loss`, `error` (expected, of the calibration) on rows their models had not seen."""

    combination: Combination
    temperature: float = 1.0
    loss: float = float("nan")
    error: float = 0.0
    how: str = "one model"


def candidates(
    problem: Problem, kept: Mapping[int, Path], order: Sequence[int], memory_mb: int
) -> tuple[dict[int, Evaluated], str]:
    """Return the best trials (`order`: their numbers, the best first), and in words if memory is too small for the usual number.

    What they say is read, their models stay in their files: half of the memory (0: any) is for the answers and a copy.
    """
    half = memory_mb * 2**20 / 2 if memory_mb else math.inf
    most = max(1, int(min(MOST_CANDIDATES, half / (len(problem.target) * problem.classes * 8 * COPIES))))
    known = [number for number in order if number in kept][:most]
    wanted = min(len(order), MOST_CANDIDATES)
    told = f"memory_mb={memory_mb} holds the answers of {len(known)} trials, not of {wanted}; the ensemble is made of these"
    return {number: trials.read(kept[number]) for number in known}, told if len(known) < wanted else ""


def choose(problem: Problem, found: Mapping[int, Evaluated], deadline: float = math.inf) -> tuple[list[int], Chosen]:
    """Return the numbers of the trials that answer together, and how; found by `deadline` [monotonic s], be they the best or not."""
    numbers = list(found)
    judged = _judged(problem, [one.said for one in found.values()])
    said, truth = {number: found[number].said[judged] for number in numbers}, problem.target[judged]
    weights = ensemble.greedy(list(said.values()), truth, problem.loss, problem.seed, deadline)
    kept = [number for number, weight in zip(numbers, weights.values, strict=True) if weight > 0]
    by: Combination = Weights(tuple(weight for weight in weights.values if weight > 0))
    how, varied = "one model" if len(kept) == 1 else "greedy selection", _varied(found, kept)
    answers = said[kept[0]] if len(kept) == 1 else _unseen(problem, said, kept, truth, deadline, layer=False)
    if len(kept) > 1 and time.monotonic() > deadline:  # what is nested stopped short: it is not what answers
        answers = ensemble.combined([said[number] for number in kept], by)
    if len(varied) > 1 and ensemble.layered(truth, problem.classes) and time.monotonic() < deadline:
        layered, plain = _unseen(problem, said, varied, truth, deadline, layer=True), problem.loss(truth, answers)
        if (loss := problem.loss(truth, layered)) < plain:
            how = f"a layer fitted to all ({loss:.5g} against {plain:.5g} of greedy weights)"
            by, answers = ensemble.fitted([said[number] for number in varied], truth), layered
            kept = varied
    if isinstance(by, Weights):
        kept = [number for number, value in zip(kept, by.values, strict=True) if value > 0]
        by = Weights(tuple(value for value in by.values if value > 0))
    if not problem.classifies:
        return kept, Chosen(by, loss=problem.loss(truth, answers), how=how)
    degree = calibration.temperature(answers, truth)
    answers = calibration.scaled(answers, degree)
    return kept, Chosen(by, degree, problem.loss(truth, answers), calibration.expected_error(answers, truth), how)


def _unseen(
    problem: Problem,
    said: Mapping[int, Said],
    numbers: Sequence[int],
    truth: npt.NDArray[Any],
    deadline: float,
    *,
    layer: bool,
) -> Said:
    asked = [said[number] for number in numbers]
    return ensemble.nested(asked, truth, problem.loss, problem.seed, layer=layer, deadline=deadline)


def _varied(found: Mapping[int, Evaluated], chosen: Sequence[int]) -> list[int]:
    """Return the chosen trials and the best one of each family."""
    best: dict[str, int] = {}
    for number, made in found.items():  # the best first
        best.setdefault(made.algorithm, number)
    return list(dict.fromkeys([*chosen, *best.values()]))[:MOST_VARIED]


def _judged(problem: Problem, said: Sequence[Said]) -> npt.NDArray[np.int64]:
    """Return the rows that every trial was judged by."""
    rows = np.flatnonzero(np.isfinite(np.stack(said)).all(axis=(0, 2)))
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(problem.seed).permutation(rows)[:MOST_ROWS])
    return rows
