"""What the libraries do to a column before their trees see it, as nodes before the graph's: the converters leave it out."""

from collections.abc import Sequence

import numpy as np
import onnx

from fleetml.imports.sources import trees
from fleetml.learn.builder import Builder

ZERO = 1e-35  # LightGBM: what lies nearer to 0 is 0


def whole(model: onnx.ModelProto, columns: Sequence[int], features: int, toward_zero: bool) -> None:
    """Make the numbers of columns of categories whole, which trees of ONNX compare by ==: 2.7 is the category 2.

    LightGBM rounds toward zero, XGBoost knows no negative category, so -0.5 must stay one.
    """
    if not columns:
        return
    made = Builder()
    number = made.op("Floor", made.op("Abs", trees.ROWS) if toward_zero else trees.ROWS)
    if toward_zero:
        number = made.op("Mul", made.op("Sign", trees.ROWS), number)
    _before(model, made, made.op("Where", _mask(made, columns, features), number, trees.ROWS, name="whole"))


def zeros_missing(model: onnx.ModelProto, columns: Sequence[int], features: int) -> None:
    """Make zeros missing values in columns where LightGBM takes them for that (zero_as_missing)."""
    if not columns:
        return
    made = Builder()
    zero = made.op("LessOrEqual", made.op("Abs", trees.ROWS), made.constant(np.float32(ZERO)))
    gone = made.op("And", zero, _mask(made, columns, features))
    _before(model, made, made.op("Where", gone, made.constant(np.float32(np.nan)), trees.ROWS, name="measured"))


def _mask(made: Builder, columns: Sequence[int], features: int) -> str:
    chosen = np.zeros((1, features), bool)
    chosen[0, list(columns)] = True
    return made.constant(chosen, bool)


def _before(model: onnx.ModelProto, made: Builder, result: str) -> None:
    """Put the nodes before the graph's, which take their result in the place of the rows."""
    own = {name for node in made.nodes for name in node.output} | {tensor.name for tensor in made.constants.values()}
    renamed = {name: f"{result} {name}" for name in own}
    for node in model.graph.node:
        node.input[:] = [renamed[result] if name == trees.ROWS else name for name in node.input]
    for node in made.nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed[name] for name in node.output]
    for tensor in made.constants.values():
        tensor.name = renamed[tensor.name]
    model.graph.initializer.extend(made.constants.values())
    later = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*made.nodes, *later])
