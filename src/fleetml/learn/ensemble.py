"""Several forecasters as ONE graph: the weighted mean of what they say.

What members compute alike, such as the rows of `fleetml.learn.tabular_rows`, is computed once: an ensemble of four tabular models
takes the time and the bytes of their trees, and of one preparation. (onnx_ir has passes that do the same; to load it took a second of
the processor, and 480 nodes as long again.)
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fleetml.learn import graph as graphs
from fleetml.learn import quantile_head
from fleetml.learn.builder import IR_VERSION
from fleetml.learn.graph import InvalidGraph

FAMILY = "ensemble"
_INPUTS = ("history", "covariates")


def weighted(members: Sequence[onnx.ModelProto], weights: Sequence[float]) -> onnx.ModelProto:
    """Return the finished graph that says the weighted mean of finished forecasters of the same windows.

    Its hyperparameters tell each member's family, weight and hyperparameters. Quantiles of members are not kept.
    Raises InvalidGraph for members of different windows or opsets, and where what comes of them does not keep the contract.
    """
    about = [graphs.describe(each) for each in members]
    meta = about[0].meta
    if any(each.meta != meta for each in about):
        raise InvalidGraph(
            f"members of an ensemble must forecast the same windows, got {[each.meta for each in about]}; "
            "train them on the same ones"
        )
    points = [quantile_head.taken_off(each) for each in members]
    parts = [onnx.compose.add_prefix(each, f"member_{place}_").graph for place, each in enumerate(points)]
    names = {f"member_{place}_{name}": name for place in range(len(parts)) for name in _INPUTS}
    constants = _constants((each for part in parts for each in part.initializer), names)
    nodes = _once((each for part in parts for each in part.node), names)
    said = [names.get(name, name) for name in (f"member_{place}_forecast" for place in range(len(parts)))]
    nodes += _mean(said, constants, weights)
    inputs = [_info(name, width) for name, width in zip(_INPUTS, (meta.context, len(meta.covariates)), strict=True)]
    whole = helper.make_graph(nodes, FAMILY, inputs, [_info("forecast", meta.horizon)], constants)
    model = helper.make_model(whole, opset_imports=_opsets(members), ir_version=IR_VERSION, producer_name="fleetml")
    told = [_told(each, weight) for each, weight in zip(about, weights, strict=True)]
    return graphs.finish(model, meta, FAMILY, {"members": told})


def _mean(said: Sequence[str], constants: list[onnx.TensorProto], weights: Sequence[float]) -> list[onnx.NodeProto]:
    """Return the nodes that make the mean; add the weights to the constants."""
    nodes = []
    for place, (name, weight) in enumerate(zip(said, weights, strict=True)):
        constants.append(numpy_helper.from_array(np.array(weight, np.float32), f"weight_{place}"))
        nodes.append(helper.make_node("Mul", [name, f"weight_{place}"], [f"weighed_{place}"]))
    return [*nodes, helper.make_node("Sum", [f"weighed_{place}" for place in range(len(said))], ["forecast"])]


def _constants(found: Iterable[onnx.TensorProto], names: dict[str, str]) -> list[onnx.TensorProto]:
    """Return each constant once; `names` gets what the others are called now."""
    kept: dict[bytes, onnx.TensorProto] = {}
    for each in found:
        bare = onnx.TensorProto()
        bare.CopyFrom(each)
        bare.ClearField("name")
        names[each.name] = kept.setdefault(bare.SerializeToString(deterministic=True), each).name
    return list(kept.values())


def _once(found: Iterable[onnx.NodeProto], names: dict[str, str]) -> list[onnx.NodeProto]:
    """Return each computation once, in order, its inputs called as they are now; `names` gets what results are called.

    The nodes of a forecaster draw nothing at random and hold no graphs, so equal nodes of equal inputs say the same.
    """
    kept: dict[tuple[Any, ...], onnx.NodeProto] = {}
    for each in found:
        inputs = [names.get(name, name) for name in each.input]
        attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in each.attribute)
        first = kept.setdefault((each.domain, each.op_type, *inputs, *attributes), each)
        if first is each:
            each.input[:] = inputs
        names.update(zip(each.output, first.output, strict=True))
    return list(kept.values())


def _told(about: graphs.Description, weight: float) -> dict[str, Any]:
    return {"family": about.family, "weight": round(weight, 4), "hyperparameters": about.hyperparameters}


def _info(name: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])


def _opsets(members: Sequence[onnx.ModelProto]) -> list[onnx.OperatorSetIdProto]:
    """Return the one opset of each domain that all members are written in. Raises InvalidGraph where they differ."""
    found = {(opset.domain, opset.version) for each in members for opset in each.opset_import}
    if len(found) != len({domain for domain, _ in found}):
        raise InvalidGraph(
            f"members of an ensemble must be written in the same opsets, got {sorted(found)}; export them alike"
        )
    return [helper.make_opsetid(*each) for each in sorted(found)]
