"""A model on its way through compression, and what the techniques may ask of the data it belongs to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import onnx

from fleetml.learn.study.trial import Pruned

if TYPE_CHECKING:
    from torch import Tensor, nn

GENTLY = 0.25
"""Times the usual learning rate, for a network that is nearly right."""
PARTS = 3
"""Parts of the rows: to tune, to compare and to judge with."""
Feeds = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Compressible:
    """A graph and the network that it is, None once it is quantised or where it never was one; `steps` tells what was done."""

    graph: onnx.ModelProto
    network: nn.Module | None
    steps: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """The size of the graph's file."""
        return int(self.graph.ByteSize())


@dataclass(frozen=True)
class Prunable:
    """The learnt part of a network, inputs to trace it with, and the layers whose outputs must stay as many."""

    module: nn.Module
    inputs: tuple[Tensor, ...]
    kept: Sequence[nn.Module]


class Data(Protocol):
    """What a model was made for: rows to calibrate, to tune, to compare and to judge with. The last are used for nothing else.

    `measure` names the figure that `compare` and `figure` give; `larger_is_better` says which way it goes. `deadline`
    [s of `time.monotonic()`] is when techniques must end, infinity: no clock decides anything. `rows` are to be dealt out: of fewer
    than `PARTS` nothing can be judged.
    """

    measure: str
    larger_is_better: bool
    deadline: float
    rows: int

    def original(self) -> Compressible:
        """Return the model as it came, with its network where it can be built again."""
        ...

    def finished(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Return a graph stamped like the original, checked and tried. Raises InvalidGraph."""
        ...

    def complete(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Return a finished graph with what is neither compressed nor judged, as it is to be published: that is what has a size and a latency."""
        ...

    def exported(self, network: nn.Module) -> onnx.ModelProto:
        """Return the finished graph of a network."""
        ...

    def feeds(self) -> Sequence[Feeds]:
        """Return batches to calibrate with, as ONNX Runtime takes them."""
        ...

    def inputs(self) -> tuple[Tensor, ...]:
        """Return the same rows as one batch for the network."""
        ...

    def prunable(self, network: nn.Module) -> Prunable:
        """Return the part of a network that can be pruned."""
        ...

    def student(self, share: float) -> nn.Module:
        """Return an untrained network like the original's with that share of its width."""
        ...

    def tune(self, network: nn.Module, taught: bool, rate: float = 1.0) -> None:
        """Train a network in place, from its weights, which stay if tuning made it no better.

        `taught`: by the original's answers too, not by the truth alone; `rate`: times the usual learning rate.
        """
        ...

    def compare(self, graph: onnx.ModelProto) -> float:
        """Return how good a graph is on the rows that a choice between graphs is made by, by ONNX Runtime."""
        ...

    def figure(self, graph: onnx.ModelProto) -> float:
        """Return how good a graph is on the rows to judge with, which no choice was made by: what is reported."""
        ...

    def latency_ms(self, graph: onnx.ModelProto) -> float:
        """Return the median latency of one row on one thread: the best of several medians."""
        ...


def check_time(data: Data) -> None:
    """Raises Pruned once the time of a technique is over: between steps, for a step is not stopped within."""
    if time.monotonic() > data.deadline:
        raise Pruned("the time of the search was over before this chain was done")


def thirds(
    groups: npt.NDArray[np.generic], order: npt.NDArray[np.generic] | None = None
) -> list[npt.NDArray[np.bool_]]:
    """Return three parts of rows [N] as flags, none in two: by group (VM) in turn, or, of fewer than three groups, one span after another.

    `order` [N]: what the spans follow, the rows' own order where it is None. Fewer than three rows are not dealt out: each part is all.
    """
    if len(groups) < PARTS:
        return [np.ones(len(groups), bool)] * PARTS
    names, number = np.unique(groups, return_inverse=True)
    if len(names) >= PARTS:
        return [number % PARTS == part for part in range(PARTS)]
    place = np.empty(len(groups), int)
    place[np.arange(len(groups)) if order is None else np.argsort(order, kind="stable")] = np.arange(len(groups))
    return [place * PARTS // len(groups) == part for part in range(PARTS)]


def loss(figure: float, before: float, larger_is_better: bool) -> float:
    """Return by which share of itself a figure got worse; below 0 it got better. Never wrong before: worse is infinitely so."""
    worse = before - figure if larger_is_better else figure - before
    if before == 0:
        return 0.0 if worse <= 0 else float("inf")
    return worse / before
