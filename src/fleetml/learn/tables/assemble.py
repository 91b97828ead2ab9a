"""Heads, members, their combination, calibration and the end as ONE graph; and the same in Python, to prove it by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import polars as pl
from onnx import TensorProto, helper

from fleetml.errors import InvalidData
from fleetml.learn.builder import IR_VERSION, OPSET, Builder
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.tables.heads import Heads, pruned
from fleetml.learn.tables.members import Member
from fleetml.learn.tables.model import KEY, OUTPUTS, Description, Predicted
from fleetml.learn.tables.transformations import ML_OPSET, PREFIX

Floats = npt.NDArray[np.float32]
LEAST = 1e-5  # a probability is taken for at least this where its logarithm is


@dataclass(frozen=True)
class Weights:
    """The mean of what the members say, by these weights: not negative, their sum 1."""

    values: tuple[float, ...]

    def combine(self, said: Sequence[Floats]) -> Floats:
        """Return [N, C] of the members' [N, C]."""
        total = sum(np.float32(weight) * each for weight, each in zip(self.values, said, strict=True))
        return np.asarray(total, np.float32)

    def add(self, made: Builder, said: Sequence[str]) -> str:
        if len(said) == 1 and self.values == (1.0,):
            return said[0]
        weighed = [made.op("Mul", each, made.constant([w])) for each, w in zip(said, self.values, strict=True)]
        return made.op("Sum", *weighed)


@dataclass(frozen=True)
class Stacking:
    """A linear layer on what the members say; of classes softmax(concat(log said) matrix + bias), `matrix` [K·C, C].

    Of a regression `matrix` is [K, 1] and the layer's result the value. `bias` is [C] or [1].
    """

    matrix: Floats
    bias: Floats
    classifies: bool

    def combine(self, said: Sequence[Floats]) -> Floats:
        """Return [N, C] of the members' [N, C]."""
        out = stacked(said, self.classifies) @ self.matrix.astype(np.float32) + self.bias.astype(np.float32)
        return softmax(out) if self.classifies else np.asarray(out, np.float32)

    def add(self, made: Builder, said: Sequence[str]) -> str:
        rows = made.op("Concat", *said, axis=1) if len(said) > 1 else said[0]
        if self.classifies:
            rows = made.op("Log", made.op("Max", rows, made.constant([LEAST])))
        out = made.op("Gemm", rows, made.constant(self.matrix), made.constant(self.bias))
        return made.op("Softmax", out, axis=1) if self.classifies else out


Combination = Weights | Stacking


def stacked(said: Sequence[Floats], classifies: bool) -> Floats:
    """Return the rows [N, K·C] that a stacking layer is fitted to."""
    rows = np.concatenate(said, axis=1)
    return np.asarray(np.log(np.maximum(rows, LEAST)) if classifies else rows, np.float32)


def tempered(said: Floats, temperature: float) -> Floats:
    """Return calibrated probabilities [N, C]: softmax(log p / T); 1 changes nothing."""
    return said if temperature == 1 else softmax(np.log(np.maximum(said, LEAST)) / np.float32(temperature))


def softmax(values: npt.NDArray[Any]) -> Floats:
    """Return the rows of [N, C] as probabilities."""
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


@dataclass(frozen=True)
class Ensemble:
    """The Python model: heads, members, their combination and a temperature."""

    heads: Heads
    members: tuple[Member, ...]
    combination: Combination
    about: Description
    temperature: float = 1.0

    def predict(self, frame: pl.DataFrame) -> Predicted:
        """Return what the graph must say of rows."""
        rows = {name: self.heads.apply(name, frame) for name in {one.head for one in self.members}}
        said = self.combination.combine([one.said(rows[one.head]) for one in self.members])
        if self.about.classifies:
            said = tempered(said, self.temperature)
        return answered(self.about, said)

    def graph(self) -> onnx.ModelProto:
        """Return the graph, not yet proven."""
        return assemble(self.heads, self.members, self.combination, self.about, self.temperature)


def answered(about: Description, said: Floats) -> Predicted:
    """Return what is answered where a model says probabilities [N, C], or standardised values [N, 1]."""
    if about.classifies:
        return Predicted(np.array(about.classes)[said.argmax(axis=1)], said)
    values = said[:, 0] * np.float32(about.scale[1]) + np.float32(about.scale[0])
    return Predicted(np.clip(values, *about.bounds) if about.bounds else values, None)


def assemble(
    heads: Heads,
    members: Sequence[Member],
    combination: Combination,
    about: Description,
    temperature: float = 1.0,
) -> onnx.ModelProto:
    """Return raw columns → heads → members → combination → calibration → `OUTPUTS` as one described, checked graph.

    Raises InvalidData for a feature called as an output is, InvalidGraph for what is no valid ONNX.
    """
    if taken := [feature.name for feature in about.features if feature.name in OUTPUTS]:
        raise InvalidData(
            f"a graph's outputs are {' and '.join(OUTPUTS)}, a feature is called so too; rename {taken[0]!r}"
        )
    nodes, initial, said = list(heads.graph.graph.node), list(heads.graph.graph.initializer), []
    for at, one in enumerate(members):
        body = _of(one, f"member_{at}/")
        nodes += body.node
        initial += body.initializer
        said.append(body.output[-1].name)
    end, infos = _end(said, combination, about, temperature)
    graph = helper.make_graph(
        [*nodes, *end.node], about.algorithm, heads.graph.graph.input, infos, initializer=[*initial, *end.initializer]
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = pruned(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fleetml"))
    helper.set_model_props(model, {KEY: about.encode()})
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise InvalidGraph(f"graph of {about.algorithm} is not valid ONNX: {error}; fix its conversion") from error
    return model


def _of(one: Member, prefix: str) -> onnx.GraphProto:
    """Return a member's body under a prefix, reading its columns of its head."""
    body = onnx.compose.add_prefix(one.body, prefix).graph
    given, read = body.input[0].name, f"{PREFIX}{one.head}"
    if one.columns is not None:
        places = onnx.numpy_helper.from_array(np.asarray(one.columns, np.int64), f"{prefix}columns")
        gather = helper.make_node("Gather", [read, places.name], [f"{prefix}own"], axis=1)
        read = gather.output[0]
    for node in body.node:
        node.input[:] = [read if name == given else name for name in node.input]
    if one.columns is not None:
        body.node.insert(0, gather)
        body.initializer.append(places)
    return body


def _end(
    said: Sequence[str], combination: Combination, about: Description, temperature: float
) -> tuple[onnx.GraphProto, list[onnx.ValueInfoProto]]:
    """What the members said → `OUTPUTS`: a class and probabilities [batch, C], or a number [batch]."""
    made, inside = Builder(), [f"said_{at}" for at in range(len(said))]
    combined = combination.add(made, inside)
    initial: list[onnx.TensorProto] = []
    kind = TensorProto.FLOAT
    if about.classifies:
        kind = TensorProto.STRING if isinstance(about.classes[0], str) else TensorProto.INT64
        values: list[Any] = [str(c) if kind == TensorProto.STRING else int(c) for c in about.classes]
        initial.append(helper.make_tensor("classes", kind, [len(values)], values))
        if temperature != 1:
            logs = made.op("Log", made.op("Max", combined, made.constant([LEAST])))
            combined = made.op("Softmax", made.op("Div", logs, made.constant([temperature])), axis=1)
        made.op("Gather", "classes", made.op("ArgMax", combined, axis=1, keepdims=0), name="prediction", axis=0)
        made.op("Identity", combined, name="probabilities")
    else:
        _rescaled(made, combined, about)
    infos = [helper.make_tensor_value_info("prediction", kind, ["batch"])]
    if about.classifies:
        infos.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(about.classes)]))
    graph = helper.make_graph(made.nodes, "end", [], [], initializer=[*initial, *made.constants.values()])
    return _prefixed(graph, dict(zip(inside, said, strict=True))), infos


def _rescaled(made: Builder, combined: str, about: Description) -> None:
    flat = made.op("Reshape", combined, made.integers(-1))
    mean, deviation = about.scale
    values = made.op("Mul", flat, made.constant([deviation]))
    if not about.bounds:
        made.op("Add", values, made.constant([mean]), name="prediction")
        return
    low, high = about.bounds
    above = made.op("Max", made.op("Add", values, made.constant([mean])), made.constant([low]))
    made.op("Min", above, made.constant([high]), name="prediction")


def _prefixed(graph: onnx.GraphProto, given: dict[str, str]) -> onnx.GraphProto:
    """Return the end's nodes under a prefix, but for what comes in (`given`: name -> the members') and goes out."""

    def name(old: str) -> str:
        return given.get(old, old if old in OUTPUTS else f"end/{old}")

    for node in graph.node:
        node.name = ""
        node.input[:] = [name(each) for each in node.input]
        node.output[:] = [name(each) for each in node.output]
    for one in graph.initializer:
        one.name = name(one.name)
    return graph
