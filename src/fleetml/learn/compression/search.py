"""The search for a chain of techniques that meets a target of size, latency and loss, or the nearest one that keeps the loss.

Which chain, and how much of each technique, a study (NSGA-II, size against loss) chooses, by the finished graphs on rows of its own.
What it chose is then judged on rows that nothing saw before: beyond the loss there, it is not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from fleetml.errors import InvalidParameter
from fleetml.frozen import replace
from fleetml.learn import flops
from fleetml.learn.compression import chains, graphs
from fleetml.learn.compression.compressible import PARTS, Compressible, Data, loss
from fleetml.learn.study import limits, loop
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.trial import Outcome, Trial

TRIALS = 24


@dataclass(frozen=True)
class Target:
    """What is wanted: a loss (share of the figure) of at most `max_loss`; `ratio` times smaller, 0: as small as it gets;
    `latency_ms` and `operations` (FLOPs of one answer) at most, 0: no matter.
    """

    max_loss: float
    ratio: float = 0.0
    latency_ms: float = 0.0
    operations: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (
            ("max_loss", self.max_loss),
            ("target_ratio", self.ratio),
            ("target_latency_ms", self.latency_ms),
            ("max_operations", self.operations),
        ):
            if not 0 <= value < math.inf:
                raise InvalidParameter(
                    f"parameter {name!r} of compression must be a number from 0, got {value}; correct it"
                )

    @property
    def wanted(self) -> bool:
        """Whether anything but the loss is asked for."""
        return bool(self.ratio or self.latency_ms or self.operations)

    def violation(self, point: Mapping[str, float]) -> float:
        """Return by how much a point misses size, latency and operations, as shares of them; 0: it does not."""
        limits = {"latency_ms": self.latency_ms, "operations": self.operations}
        over = sum(max(0.0, point[name] / most - 1) for name, most in limits.items() if most)
        return max(0.0, self.ratio / point["ratio"] - 1) + over

    def __str__(self) -> str:
        said = ((self.ratio, "times smaller"), (self.latency_ms, "ms"), (self.operations, "operations"))
        return " and ".join([f"{value:g} {unit}" for value, unit in said if value] or ["smaller"])


@dataclass(frozen=True)
class Found:
    """The graph that is to be used; `method` names its steps, `points` all that were tried. Not `met`: `reason` says why.

    `figure` and `loss` are those on the rows that are judged, the `loss` of a point that on those compared.
    """

    graph: onnx.ModelProto
    method: str
    figure: float
    loss: float
    ratio: float
    latency_ms: float
    met: bool
    reason: str
    points: tuple[Mapping[str, Any], ...]


def search(
    data: Data,
    target: Target,
    trials: int = TRIALS,
    seconds: float = math.inf,
    seed: int = 0,
    precision: str = "int8",
    counted: bool = False,
    memory_mb: int | None = None,
) -> Found:
    """Return the graph of the least loss that meets the target (the smallest, where it asks for no ratio), else the nearest within
    the loss, else the original.

    The first trial, which tunes nothing, is always done; another ends between two of its steps once `seconds` are over. `counted`: no
    clock decides within a trial and `seconds` end the search between trials, so that the same seed and trials give the same bytes.
    `memory_mb`: what one chain may take, 0: no limit; chains are tried in a process of their own then, and one that crashes, hangs or takes more
    does not end the search. None: in this process. Of fewer than `PARTS` rows to judge with the original is returned, and the reason says so.
    Raises InvalidParameter for another precision, for trees in FP16, for a counted search of a latency.
    """
    if counted and target.latency_ms:
        raise InvalidParameter(
            f"a counted compression measures no latency, got target_latency_ms {target.latency_ms:g}; give max_operations instead"
        )
    bounds = {} if memory_mb is None else limits.of_search(trials, seconds, memory_mb, counted)
    settings = StudySettings(trials, seconds, "nsga2", directions=("minimize", "minimize"), seed=seed, **bounds)
    whole = data.original()
    judge, known = _Judge(data, target, whole, counted), chains.ends(whole, precision)
    if data.rows < PARTS:
        return judge.none(
            f"{data.rows} validation rows that can be scored are too few to tune, to compare and to judge with: that takes {PARTS}",
            (),
        )
    if not known:
        reason = f"a graph of family {chains.family(whole.graph)!r} has no matrix product, convolution or tree worth the bytes"
        return judge.none(reason, ())
    space, starts = chains.space(whole.network is not None, known)
    if whole.network is None:
        settings = replace(settings, trials=min(trials, len(starts)))
    result = loop.run(lambda trial: judge(trial, known), space, settings, starts)
    return _chosen(judge, target, result)


class _Judge:
    def __init__(self, data: Data, target: Target, whole: Compressible, counted: bool) -> None:
        self.data, self.target, self.whole, self.counted = data, target, whole, counted
        self.original = data.complete(whole.graph)
        self.compared, self.before = data.compare(whole.graph), data.figure(whole.graph)

    def __call__(self, trial: Trial, known: chains.Ends) -> tuple[float, float]:
        # The first chain is short, and the only one that a search without time has
        self.data.deadline = math.inf if self.counted or trial.number == 0 else trial.deadline
        made = chains.apply(self.whole, trial.params, known, self.data)
        graph = self.data.complete(self.data.finished(graphs.compact(made.graph)))
        point = {"method": " + ".join(made.steps) or "compact", **self.cost(graph)}
        point["loss"] = loss(self.data.compare(graph), self.compared, self.data.larger_is_better)
        for name, value in point.items():
            trial.note(name, value)
        trial.constrain("loss", point["loss"] - self.target.max_loss)
        trial.constrain("target", self.target.violation(point))
        trial.keep(graph.SerializeToString())
        return point["size_bytes"], point["loss"]

    def cost(self, graph: onnx.ModelProto) -> dict[str, Any]:
        size = graph.ByteSize()
        cost = {"size_bytes": size, "ratio": self.original.ByteSize() / size, "latency_ms": self.data.latency_ms(graph)}
        return {**cost, "operations": flops.count(graph).operations} if self.target.operations else cost

    def judged(self, graph: onnx.ModelProto) -> dict[str, float]:
        figure = self.data.figure(graph)
        return {"figure": figure, "loss": loss(figure, self.before, self.data.larger_is_better)}

    def none(self, reason: str, points: tuple[Mapping[str, Any], ...]) -> Found:
        """Return the original: met where nothing but the loss was asked for, or it is within the target as it came."""
        graph, cost = self.original, self.cost(self.original)
        met = not self.target.wanted or not self.target.violation(cost)
        reason = reason if met else f"best effort, the original: {reason}"
        return Found(graph, "none", self.before, 0.0, 1.0, cost["latency_ms"], met, reason, points)


def _chosen(judge: _Judge, target: Target, result: loop.StudyResult) -> Found:
    done = [each for each in result.outcomes if each.values]
    points = tuple({**each.notes, "params": dict(each.params)} for each in done)
    within = [each for each in done if each.notes["loss"] <= target.max_loss and each.notes["ratio"] > 1]
    if not within:
        return judge.none(_why_none(done, target, result), points)
    best = min(within, key=lambda each: _rank(each, target))
    surest = min(within, key=lambda each: each.values[::-1])
    lost: list[str] = []
    # No more than two are ever judged, both named before: else the rows that judge would choose
    for each in dict.fromkeys((best.number, surest.number)):
        outcome = next(other for other in within if other.number == each)
        graph = onnx.load_from_string(result.kept[each].read_bytes())
        judged = judge.judged(graph)
        if judged["loss"] <= target.max_loss:
            return _found(outcome, graph, judged, target, points, lost)
        lost.append(f"{outcome.notes['method']} loses {judged['loss']:.2%} on the rows that judge")
    return judge.none(
        f"within a loss of {target.max_loss:.1%} where chains are compared, but {'; '.join(lost)}", points
    )


def _rank(each: Outcome, target: Target) -> tuple[float, ...]:
    """What reaches the ratio that was asked for is the better the less it loses; else, or without one, the smaller."""
    missed = target.violation(each.notes)
    return (missed, *(each.values[::-1] if target.ratio and not missed else each.values))


def _found(
    outcome: Outcome,
    graph: onnx.ModelProto,
    judged: Mapping[str, float],
    target: Target,
    points: tuple[Mapping[str, Any], ...],
    lost: Sequence[str],
) -> Found:
    notes = outcome.notes
    met = target.violation(notes) == 0
    nearest = f"{notes['method']}: {notes['ratio']:.1f} times smaller, {notes['latency_ms']:.2f} ms"
    why = "".join(f" ({each})" for each in lost)
    reason = "" if met else (
        f"best effort: none of {len(points)} chains is {target} within a loss of {target.max_loss:.1%}{why}; the nearest is {nearest}"
    )  # fmt: skip
    return Found(
        graph,
        notes["method"],
        judged["figure"],
        judged["loss"],
        notes["ratio"],
        notes["latency_ms"],
        met,
        reason,
        points,
    )


def _why_none(done: Sequence[Outcome], target: Target, result: loop.StudyResult) -> str:
    smaller = [each for each in done if each.notes["ratio"] > 1]
    if smaller:
        least = min(smaller, key=lambda each: each.notes["loss"])
        return (
            f"none of {len(done)} chains is smaller within a loss of {target.max_loss:.1%}; the least loss is "
            f"{least.notes['loss']:.2%} ({least.notes['method']})"
        )
    first = next((each.reason for each in result.outcomes if each.reason), "nothing in it is worth it")
    return f"none of {len(result.outcomes)} chains makes the graph smaller: {first}"
