"""The search for a chain of techniques that meets a target of size, latency and loss, or the nearest one that keeps the loss.

The order is fixed: fewer channels (pruned, or a student), lower rank, tuning after either, INT8 last. Which of them, and how much, a
study (NSGA-II, size against loss) chooses; each chain is judged as its finished graph, on rows that nothing else saw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx

from fleetml.errors import InvalidParameter
from fleetml.learn.compression import graphs, half, networks, prune, qat, quantise, trees
from fleetml.learn.compression.compressible import Compressible, Data, loss
from fleetml.learn.study import loop
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.trial import Outcome, Trial

if TYPE_CHECKING:
    from fleetml.learn.study.space import Space

TRIALS = 24
PRECISIONS = ("int8", "fp16")
SHAPES = ("whole", "pruned", "student")
Step = tuple[Callable[[Compressible, float, Data], Compressible], float]
_INT8: Mapping[str, Sequence[Step]] = {
    "static": [(quantise.static, 1.0)],
    "static_smallest": [(quantise.static, 0.0), (half.fp16_constants, 1.0)],
    "mixed": [(quantise.mixed, 0.34)],
    "dynamic": [(quantise.dynamic, 1.0)],
    "aware": [(qat.aware, 1.0), (half.fp16_constants, 1.0)],
}
_TREES: Mapping[str, Sequence[Step]] = {
    "short": [(trees.fewer_leaves, 1.0)],
    **{f"leaves_{share:g}": [(trees.int8_leaves, share)] for share in (1.0, 0.5, 0.35, 0.25, 0.2, 0.15, 0.1)},
}
_FINAL = {"int8": _INT8, "fp16": {"fp16": [(half.fp16, 1.0)]}}
_NEED_NETWORK = ("aware",)
# What has paid before, on networks of other sizes: the study goes on from there
_STARTS: tuple[dict[str, Any], ...] = (
    {"shape": "whole", "width": 1.0, "rank": 1.0, "numbers": "static"},
    {"shape": "pruned", "width": 0.5, "rank": 0.5, "numbers": "static_smallest"},
    {"shape": "pruned", "width": 0.25, "rank": 0.5, "numbers": "static_smallest"},
    {"shape": "pruned", "width": 0.35, "rank": 0.35, "numbers": "static_smallest"},
    {"shape": "student", "width": 0.5, "rank": 0.5, "numbers": "static_smallest"},
    {"shape": "pruned", "width": 0.25, "rank": 1.0, "numbers": "aware"},
)


@dataclass(frozen=True)
class Target:
    """What is wanted: a loss (share of the figure) of at most `max_loss`; `ratio` times smaller, 0: as small as it gets;
    `latency_ms` at most, 0: no matter.
    """

    max_loss: float
    ratio: float = 0.0
    latency_ms: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (
            ("max_loss", self.max_loss),
            ("target_ratio", self.ratio),
            ("target_latency_ms", self.latency_ms),
        ):
            if not 0 <= value < math.inf:
                raise InvalidParameter(
                    f"parameter {name!r} of compression must be a number from 0, got {value}; correct it"
                )

    def violation(self, point: Mapping[str, float]) -> float:
        """Return by how much a point misses size and latency, as shares of them; 0: it does not."""
        small = max(0.0, self.ratio / point["ratio"] - 1)
        return small + (max(0.0, point["latency_ms"] / self.latency_ms - 1) if self.latency_ms else 0.0)

    def __str__(self) -> str:
        wanted = [f"{self.ratio:g} times smaller"] * bool(self.ratio) + [f"{self.latency_ms:g} ms"] * bool(
            self.latency_ms
        )
        return " and ".join(wanted or ["smaller"])


@dataclass(frozen=True)
class Found:
    """The graph that is to be used; `method` names its steps, `points` all that were tried. Not `met`: `reason` says why."""

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
    data: Data, target: Target, trials: int = TRIALS, seconds: float = math.inf, seed: int = 0, precision: str = "int8"
) -> Found:
    """Return the smallest graph that meets the target, else the nearest within the loss, else the original.

    One trial is always done; a further one does not begin after `seconds`. Raises InvalidParameter for another precision.
    """
    if precision not in PRECISIONS:
        raise InvalidParameter(
            f"precision of compression must be one of {', '.join(PRECISIONS)}, got {precision!r}; correct it"
        )
    whole = data.original()
    judge = _Judge(data, target, whole)
    chains = _FINAL[precision]
    if trees.trees_of(whole.graph):
        chains = _TREES
    elif whole.network is None and not quantise.quantisable(whole.graph):
        reason = (
            f"a graph of family {_family(whole.graph)!r} has no matrix product, convolution or tree worth the bytes"
        )
        return _found(whole.graph, judge.point(whole.graph) | {"method": "none"}, False, reason, ())
    space, starts = _space(whole.network is not None, chains)
    count = trials if whole.network is not None else min(trials, len(starts))
    settings = StudySettings(count, seconds=seconds, sampler="nsga2", directions=("minimize", "minimize"), seed=seed)
    result = loop.run(lambda trial: judge(trial, chains), space, settings, starts)
    return _chosen(judge, target, result)


def _family(graph: onnx.ModelProto) -> str:
    return next((prop.value for prop in graph.metadata_props if prop.key == "fleetml.family"), "")


class _Judge:
    def __init__(self, data: Data, target: Target, whole: Compressible) -> None:
        self.data, self.target, self.whole = data, target, whole
        self.before = data.figure(whole.graph)

    def __call__(self, trial: Trial, chains: Mapping[str, Any]) -> tuple[float, float]:
        made = self.chain(trial.params, chains)
        graph = self.data.finished(graphs.compact(made.graph))
        point = {**self.point(graph), "method": " + ".join(made.steps) or "compact"}
        for name, value in point.items():
            trial.note(name, value)
        trial.constrain("loss", point["loss"] - self.target.max_loss)
        trial.constrain("target", self.target.violation(point))
        trial.keep(graph.SerializeToString())
        return point["size_bytes"], point["loss"]

    def chain(self, params: Mapping[str, Any], chains: Mapping[str, Any]) -> Compressible:
        made, shape, width = self.whole, params.get("shape", "whole"), params.get("width", 1.0)
        if shape == "student":
            made = networks.distilled(made, width, self.data)
        elif shape == "pruned":
            made = prune.structured(made, width, self.data)
        if params.get("rank", 1.0) < 1:
            made = networks.low_rank(made, params["rank"], self.data)
        if shape == "pruned" or params.get("rank", 1.0) < 1:
            made = networks.tuned(made, 1.0, self.data)
        small = chains is not _TREES and not quantise.quantisable(
            made.graph
        )  # no layer is worth the bytes of its scales
        for technique, amount in () if small else chains[params["numbers"]]:
            made = technique(made, amount, self.data)
        return made

    def point(self, graph: onnx.ModelProto) -> dict[str, Any]:
        figure = self.data.figure(graph)
        return {
            "figure": figure,
            "loss": loss(figure, self.before, self.data.larger_is_better),
            "size_bytes": graph.ByteSize(),
            "ratio": self.whole.size_bytes / graph.ByteSize(),
            "latency_ms": self.data.latency_ms(graph),
        }


def _space(network: bool, chains: Mapping[str, Any]) -> tuple[Space, Sequence[Mapping[str, Any]]]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    names = [name for name in chains if network or name not in _NEED_NETWORK]
    numbers = {"numbers": CategoricalDistribution(names)}
    if not network:
        return numbers, [{"numbers": name} for name in names]
    space = {
        "shape": CategoricalDistribution(list(SHAPES)),
        "width": FloatDistribution(0.125, 1.0),
        "rank": FloatDistribution(0.125, 1.0),
        **numbers,
    }
    return space, [
        {**start, "numbers": start["numbers"] if start["numbers"] in names else names[0]} for start in _STARTS
    ]


def _chosen(judge: _Judge, target: Target, result: loop.StudyResult) -> Found:
    done = [each for each in result.outcomes if each.values]
    points = tuple({**each.notes, "params": dict(each.params)} for each in done)
    within = [each for each in done if each.notes["loss"] <= target.max_loss and each.notes["ratio"] > 1]
    if not within:
        point = judge.point(judge.whole.graph)
        return _found(judge.whole.graph, {**point, "method": "none"}, False, _why_none(done, target, result), points)
    best = min(within, key=lambda each: (target.violation(each.notes), each.values[0]))
    graph = onnx.load_from_string(result.kept[best.number].read_bytes())
    met = target.violation(best.notes) == 0
    nearest = f"{best.notes['method']}: {best.notes['ratio']:.1f} times smaller, {best.notes['latency_ms']:.2f} ms"
    reason = "" if met else (
        f"best effort: none of {len(done)} chains is {target} within a loss of {target.max_loss:.1%}; the nearest is {nearest}"
    )  # fmt: skip
    return _found(graph, best.notes, met, reason, points)


def _found(
    graph: onnx.ModelProto, point: Mapping[str, Any], met: bool, reason: str, points: tuple[Mapping[str, Any], ...]
) -> Found:
    figures = {name: point[name] for name in ("method", "figure", "loss", "ratio", "latency_ms")}
    return Found(graph, met=met, reason=reason, points=points, **figures)


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
