"""Does a graph, run as the server runs it, answer as the original did?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fleetml.errors import InvalidData
from fleetml.imports.arrays import Array, Arrays
from fleetml.learn.forecaster import session
from fleetml.learn.graph import InvalidGraph

MEAN, LARGE, SHARE = 1e-4, 1e-3, 1e-3
"""Of the mean size of an answer: the mean difference at most MEAN, and at most SHARE of the rows beyond LARGE."""
_LEAST = 1e-6  # what counts as the size of answers that are all nearly 0


@dataclass(frozen=True)
class Equality:
    """`mean` and `largest` difference over all numbers, of their output's mean size; `rows` compared."""

    rows: int
    mean: float
    largest: float


def prove(graph: Path, inputs: Arrays, answers: Arrays) -> Equality:
    """Ask the graph, compare by output. Raises InvalidGraph for one that does not run, InvalidData where it differs."""
    loaded = session(graph)
    for node in (*loaded.get_inputs(), *loaded.get_outputs()):
        if not node.type.startswith("tensor("):
            raise InvalidGraph(
                f"inputs and outputs of a served graph are tensors, {node.name} is {node.type}; export it without ZipMap (zipmap=False)"
            )
    feeds = {name: a.astype(object) if a.dtype.kind == "U" else a for name, a in inputs.items()}
    try:
        said = dict(zip((node.name for node in loaded.get_outputs()), loaded.run(None, feeds), strict=True))
    except Exception as error:  # ONNX Runtime's errors share no public base
        raise InvalidGraph(f"the graph must run on the samples, ONNX Runtime says: {error}; export it again") from error
    ties = _ties(answers)
    differences = [_difference(name, np.asarray(said[name]), answer, ties) for name, answer in answers.items()]
    rows = max((len(answer) for answer in answers.values() if answer.ndim), default=0)
    numbers = np.concatenate([found for found in differences if found is not None] or [np.zeros(1)])
    return Equality(rows, float(numbers.mean()), float(numbers.max()))


def _ties(answers: Arrays) -> npt.NDArray[np.bool_]:
    """Say of which rows the label is chance: the two largest of their probabilities are as good as equal."""
    tied = np.zeros(0, bool)
    for answer in answers.values():
        if answer.dtype.kind == "f" and answer.ndim == 2 and answer.shape[1] > 1:
            largest = np.sort(answer, axis=1)[:, -2:]
            tied = largest[:, 1] - largest[:, 0] <= MEAN
    return tied


def _difference(name: str, said: Array, answer: Array, ties: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64] | None:
    """Return the differences of an output; None where it is no number. Raises InvalidData."""
    if said.shape != answer.shape:
        raise InvalidData(
            f"the graph must answer as the original, its {name} has the shape {list(said.shape)}, the original's {list(answer.shape)}; "
            "export the model as ONNX yourself"
        )
    if "f" not in (said.dtype.kind, answer.dtype.kind) or _is_text(said) or _is_text(answer):
        text = _is_text(said) or _is_text(answer)
        unequal = np.asarray(said.astype(str) != answer.astype(str) if text else said != answer)
        if unequal.shape == ties.shape:
            unequal &= ~ties
        _require(name, f"{unequal.mean():.2%} of the values differ", bool(unequal.mean() <= SHARE))
        return None
    finite = np.isfinite(answer) & np.isfinite(said)
    same = np.array_equal(said[~finite], answer[~finite], equal_nan=True)
    _require(name, "other values are infinite or no numbers", same)
    size = max(float(np.abs(answer[finite]).mean()) if finite.any() else 0.0, _LEAST)
    found = (
        np.where(finite, np.abs(np.where(finite, said, 0).astype(np.float64) - np.where(finite, answer, 0)), 0) / size
    )
    rows = (found.reshape(len(found), -1) if found.ndim else found.reshape(1, 1)).max(axis=1)
    _require(
        name,
        f"the mean difference is {found.mean():.2g}, {np.mean(rows > LARGE):.2%} of the rows differ by more than {LARGE:g}",
        bool(found.mean() <= MEAN and np.mean(rows > LARGE) <= SHARE),
    )
    return found.ravel()


def _is_text(array: Array) -> bool:
    return array.dtype.kind in "UO"


def _require(name: str, what: str, holds: bool) -> None:
    if not holds:
        raise InvalidData(
            f"the graph must answer as the original does (mean difference at most {MEAN:g}, {SHARE:.1%} of the rows beyond {LARGE:g}), of "
            f"{name} {what}; nothing is registered: export the model as ONNX yourself, or without the step that differs (docs/import.md)"
        )
