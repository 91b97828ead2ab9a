"""A member of an ensemble: one fitted estimator, the graph of it, and what it costs to ask."""

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from fleetml.learn.flops import count
from fleetml.learn.tables import fit
from fleetml.learn.tables.heads import DENSE, FOREST, TREE, Heads
from fleetml.learn.tables.trained import ALL, Places
from fleetml.learn.tables.trees import comparisons

Floats = npt.NDArray[np.float32]
HEAD_OF = {
    "constant": DENSE,
    "linear": DENSE,
    "mlp": DENSE,
    "net": DENSE,
    "random_forest": FOREST,
    "extra_trees": FOREST,
    "xgboost": TREE,
    "lightgbm": TREE,
}


# Of one row on one thread: a node of a graph, an addition or multiplication, a question of a tree
NODE_MS, OPERATION_MS, COMPARISON_MS = 0.002, 5e-7, 1.5e-5


@dataclass(frozen=True)
class Member:
    """One estimator as a graph rows [R, F] → said [R, C] (probabilities) or [R, 1] (standardised values).

    `fold`: of which validation fold's rows it was fitted to those it learns from, `ALL`: to all. `head` names the rows it is given, `columns` which of their columns (None: all). `said_oof` [N, C] is what it, or its likes on other folds, said of training rows they
    were not fitted to. `p50_ms` is the median of one row on one thread, the body alone; `bytes` its size.
    """

    name: str
    algorithm: str
    head: str
    estimator: Any = field(repr=False)
    body: onnx.ModelProto = field(repr=False)
    classifies: bool
    p50_ms: float
    bytes: int
    said_oof: Floats | None = field(default=None, repr=False)
    columns: Places | None = field(default=None, repr=False)
    fold: int = ALL

    def said(self, rows: Floats) -> Floats:
        """Return what the Python model says of rows of its head."""
        mine = rows if self.columns is None else rows[:, self.columns]
        return fit.outputs(self.estimator, mine, self.classifies)

    @cached_property
    def operations(self) -> int:
        """The multiplications, additions and comparisons of one row, counted: the same on every machine."""
        return count(self.body).operations + comparisons(self.body)

    @cached_property
    def estimated_ms(self) -> float:
        """What one row takes by what is counted: the same on every machine, near `p50_ms` on one of 2020 (within a factor of 3)."""
        asked = comparisons(self.body)
        return len(self.body.graph.node) * NODE_MS + (self.operations - asked) * OPERATION_MS + asked * COMPARISON_MS

    def named(self, name: str) -> "Member":
        return replace(self, name=name)


def head_of(heads: Heads, algorithm: str) -> str:
    """Return the name of the rows an algorithm is given; the only one where the heads have one."""
    return next(iter(heads.rows)) if len(heads.rows) == 1 else HEAD_OF[algorithm]


def member(
    heads: Heads,
    algorithm: str,
    estimator: Any,
    classifies: bool,
    *,
    name: str = "",
    said_oof: Floats | None = None,
    fold: int = ALL,
) -> Member:
    """Return an estimator fitted to `heads.trained[head_of(heads, algorithm)].of(fold)` as a member; `name` is the algorithm's by default.

    Raises InvalidGraph for an estimator that ONNX Runtime cannot load.
    """
    head = head_of(heads, algorithm)
    columns = heads.trained[head].columns(fold)
    width = heads.width(head) if columns is None else len(columns)
    body = fit.convert(algorithm, estimator, width, classifies)
    content = body.SerializeToString()
    return Member(
        name=name or algorithm,
        algorithm=algorithm,
        head=head,
        estimator=estimator,
        body=body,
        classifies=classifies,
        p50_ms=latency(content, width),
        bytes=len(content),
        said_oof=said_oof,
        columns=columns,
        fold=fold,
    )


def latency(content: bytes, width: int, runs: int = 30, rounds: int = 3) -> float:
    """Return the least of several medians, in ms, of one row [1, width] on one thread: a neighbour's load is not ours."""
    from fleetml.learn.forecaster import session

    runner = session(content)
    feeds = {runner.get_inputs()[0].name: np.zeros((1, width), np.float32)}
    wanted = [runner.get_outputs()[-1].name]
    runner.run(wanted, feeds)
    medians = []
    for _ in range(rounds):
        spent = []
        for _ in range(runs):
            start = time.perf_counter()
            runner.run(wanted, feeds)
            spent.append(time.perf_counter() - start)
        medians.append(float(np.median(spent)))
    return min(medians) * 1e3
