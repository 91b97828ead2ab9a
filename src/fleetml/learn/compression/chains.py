"""Chains of techniques: what a search chooses between, and how one is applied.

The order is fixed: fewer channels (pruned, or a student), lower rank, tuning after either, INT8 last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx

from fleetml.errors import InvalidParameter
from fleetml.learn.compression import half, networks, prune, qat, quantise, trees
from fleetml.learn.compression.compressible import Compressible, Data, check_time

if TYPE_CHECKING:
    from fleetml.learn.study.space import Space

PRECISIONS = ("int8", "fp16")
SHAPES = ("whole", "pruned", "student")
Step = tuple[Callable[[Compressible, float, Data], Compressible], float]
Ends = Mapping[str, Sequence[Step]]
_INT8: Ends = {
    "static": [(quantise.static, 1.0)],
    "static_smallest": [(quantise.static, 0.0), (half.fp16_constants, 1.0)],
    "mixed": [(quantise.mixed, 0.34)],
    "dynamic": [(quantise.dynamic, 1.0)],
    "constants": [(half.int8_constants, 1.0)],
    "static_least": [(quantise.static, 0.0), (half.int8_constants, 1.0)],
    "aware": [(qat.aware, 1.0), (half.fp16_constants, 1.0)],
    "aware_least": [(qat.aware, 0.0), (half.int8_constants, 1.0)],
}
TREES: Ends = {
    "short": [(trees.fewer_leaves, 1.0)],
    **{f"leaves_{share:g}": [(trees.int8_leaves, share)] for share in (1.0, 0.5, 0.35, 0.25, 0.2, 0.15, 0.1)},
}
_ENDS: Mapping[str, Ends] = {"int8": _INT8, "fp16": {"fp16": [(half.fp16, 1.0)]}}
_QUANTISERS = (quantise.static, quantise.mixed, quantise.dynamic, qat.aware)
_NEED_NETWORK = ("aware", "aware_least")
# What has paid before, on networks of other sizes: the study goes on from there
STARTS: tuple[dict[str, Any], ...] = (
    {"shape": "whole", "width": 1.0, "rank": 1.0, "numbers": "static"},
    {"shape": "whole", "width": 1.0, "rank": 1.0, "numbers": "constants"},
    {"shape": "pruned", "width": 0.25, "rank": 1.0, "numbers": "aware_least"},
    {"shape": "pruned", "width": 0.5, "rank": 0.5, "numbers": "constants"},
    {"shape": "pruned", "width": 0.375, "rank": 0.5, "numbers": "aware_least"},
    {"shape": "pruned", "width": 0.25, "rank": 0.5, "numbers": "static_least"},
    {"shape": "student", "width": 0.25, "rank": 0.75, "numbers": "static_least"},
)


def ends(whole: Compressible, precision: str) -> Ends:
    """Return the ways to write the numbers of a model, by name; none where it has nothing worth the bytes.

    Raises InvalidParameter for another precision, and for trees in FP16.
    """
    if precision not in PRECISIONS:
        raise InvalidParameter(
            f"precision of compression must be one of {', '.join(PRECISIONS)}, got {precision!r}; correct it"
        )
    if trees.trees_of(whole.graph):
        if precision != "int8":
            raise InvalidParameter(
                f"precision {precision!r} of compression is for the products of networks, got trees (family "
                f"{family(whole.graph)!r}), whose operator takes float32 alone on ONNX Runtime; use int8"
            )
        return TREES
    return _ENDS[precision] if whole.network is not None or quantise.quantisable(whole.graph) else {}


def space(network: bool, known: Ends) -> tuple[Space, Sequence[Mapping[str, Any]]]:
    """Return what a study chooses between, and the points it begins with; without a network these are all there are."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    names = [name for name in known if network or name not in _NEED_NETWORK]
    numbers = {"numbers": CategoricalDistribution(names)}
    if not network:
        return numbers, [{"numbers": name} for name in names]
    shapes = {
        "shape": CategoricalDistribution(list(SHAPES)),
        "width": FloatDistribution(0.125, 1.0),
        "rank": FloatDistribution(0.125, 1.0),
        **numbers,
    }
    return shapes, [
        {**start, "numbers": start["numbers"] if start["numbers"] in names else names[0]} for start in STARTS
    ]


def apply(whole: Compressible, params: Mapping[str, Any], known: Ends, data: Data) -> Compressible:
    """Return the model after the chain that `params` mean. Raises Pruned between two steps once `data.deadline` is over."""
    made = whole
    for technique, amount in _shape(params):
        made = technique(made, amount, data)
        check_time(data)
    for technique, amount in known[params["numbers"]]:
        check_time(data)
        # Where no layer is worth the bytes of its scales, nothing is quantised
        if technique not in _QUANTISERS or quantise.quantisable(made.graph):
            made = technique(made, amount, data)
    return made


def _shape(params: Mapping[str, Any]) -> list[Step]:
    shape, width, rank = params.get("shape", "whole"), params.get("width", 1.0), params.get("rank", 1.0)
    steps: list[Step] = []
    if shape != "whole":
        steps.append((prune.structured if shape == "pruned" else networks.distilled, width))
    if rank < 1:
        steps.append((networks.low_rank, rank))
    if shape == "pruned" or rank < 1:
        steps.append((networks.tuned, 1.0))
    return steps


def family(graph: onnx.ModelProto) -> str:
    """Return the family that a graph says it is of, "" where it says none."""
    return next((prop.value for prop in graph.metadata_props if prop.key == "fleetml.family"), "")
