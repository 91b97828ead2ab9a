"""A tabular model: ONE ONNX graph from raw columns to predictions, its description, and how it is run."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import polars as pl
from onnx import TensorProto, helper

from fleetml.errors import InvalidData
from fleetml.learn.algorithms import CLASSIFICATION
from fleetml.learn.builder import IR_VERSION, OPSET, Builder
from fleetml.learn.forecaster import session
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.tables.table import Feature
from fleetml.learn.tables.transformations import ML_OPSET, ROWS, arrays

KIND = "tabular"
_KEY = "fleetml.tabular"
_CHUNK = 8192  # rows per call
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Description:
    """What a graph says about itself. `classes` are texts, whole numbers or truth values; none of a regression.

    `scale` is (mean, deviation) of the target on the training rows: a regression is learnt standardised.
    """

    target: str
    objective: str
    algorithm: str
    features: tuple[Feature, ...]
    classes: tuple[Any, ...] = ()
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    scale: tuple[float, float] = (0.0, 1.0)

    @property
    def classifies(self) -> bool:
        return self.objective == CLASSIFICATION


def assemble(head: onnx.ModelProto, body: onnx.ModelProto, about: Description) -> onnx.ModelProto:
    """Return head (columns → rows), body (rows → its last output) and the end as one described, checked graph."""
    body = onnx.compose.add_prefix(body, "model_")
    tail = onnx.compose.add_prefix(_tail(about), "tail_")
    said = body.graph.output[-1].name
    middle = onnx.compose.merge_models(head, body, io_map=[(ROWS, "model_rows")], outputs=[said])
    model = onnx.compose.merge_models(middle, tail, io_map=[(said, "tail_said")])
    for node in model.graph.node:
        node.output[:] = [name.removeprefix("tail_") if name in _OUTPUTS else name for name in node.output]
    for info in model.graph.output:
        info.name = info.name.removeprefix("tail_")
    text = json.dumps(
        {
            "target": about.target,
            "objective": about.objective,
            "algorithm": about.algorithm,
            "classes": about.classes,
            "hyperparameters": about.hyperparameters,
            "scale": about.scale,
            "features": [vars(f) for f in about.features],
        },
        sort_keys=True,
    )
    helper.set_model_props(model, {_KEY: text})
    model.graph.name = about.algorithm
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise InvalidGraph(f"graph of {about.algorithm} is not valid ONNX: {error}; fix its conversion") from error
    return model


OUTPUTS = ("prediction", "probabilities")
_OUTPUTS = tuple(f"tail_{name}" for name in OUTPUTS)


def _tail(about: Description) -> onnx.ModelProto:
    """said [batch, C] → prediction [batch] (a class) and probabilities; said [batch, 1] → prediction [batch] (a number)."""
    made = Builder()
    width = len(about.classes) if about.classifies else 1
    kind, initial = TensorProto.FLOAT, []
    if about.classifies:
        kind = TensorProto.STRING if isinstance(about.classes[0], str) else TensorProto.INT64
        values: list[Any] = [str(c) if kind == TensorProto.STRING else int(c) for c in about.classes]
        initial.append(helper.make_tensor("classes", kind, [width], values))
        place = made.op("ArgMax", "said", axis=1, keepdims=0)
        made.op("Gather", "classes", place, name="prediction", axis=0)
        made.op("Identity", "said", name="probabilities")
    else:
        flat = made.op("Reshape", "said", made.integers(-1))
        mean, deviation = about.scale
        scaled = made.op("Mul", flat, made.constant([deviation]))
        made.op("Add", scaled, made.constant([mean]), name="prediction")
    outputs = [helper.make_tensor_value_info("prediction", kind, ["batch"])]
    if about.classifies:
        outputs.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", width]))
    said = helper.make_tensor_value_info("said", TensorProto.FLOAT, ["batch", width])
    initial += made.constants.values()
    graph = helper.make_graph(made.nodes, "end", [said], outputs, initializer=initial)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


@dataclass(frozen=True)
class Predicted:
    """prediction [N] (classes, or numbers); probabilities [N, C], None of a regression."""

    prediction: npt.NDArray[Any]
    probabilities: Floats | None


class TabularModel:
    """A graph, loaded. Raises InvalidGraph for a file that is none of ours."""

    def __init__(self, graph: Path | bytes) -> None:
        if isinstance(graph, Path) and not graph.stat().st_size:  # what the champion's step writes then
            raise InvalidGraph(
                f"the registry has no champion of this model_name ({graph} is empty); "
                "deploy one (MODEL_DEPLOYMENT), or correct model_name"
            )
        self.session = session(graph)
        try:
            text = self.session.get_modelmeta().custom_metadata_map[_KEY]
            found = json.loads(text)
            features = tuple(Feature(f["name"], f["type"], tuple(f["transformations"])) for f in found.pop("features"))
            classes, scale = tuple(found.pop("classes")), tuple(found.pop("scale"))
            self.about = Description(**found, features=features, classes=classes, scale=scale)
        except (KeyError, ValueError, TypeError) as error:
            place = "the graph" if isinstance(graph, bytes) else graph
            raise InvalidGraph(
                f"a tabular model must carry {_KEY} metadata, {place} does not ({error!r}); "
                "give the model of a MODEL_TRAINING or HYPERPARAMETER_TUNING task"
            ) from None

    def predict(self, frame: pl.DataFrame) -> Predicted:
        """Return the predictions of rows; columns that are no features are not looked at. Raises InvalidData."""
        columns = arrays(frame, self.about.features)
        if not len(frame):
            raise InvalidData("there must be rows to predict, got none; give a dataset that holds some")
        parts = [
            self.session.run(None, {name: values[at : at + _CHUNK] for name, values in columns.items()})
            for at in range(0, len(frame), _CHUNK)
        ]
        joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
        prediction = joined[0]
        if self.about.classes and isinstance(self.about.classes[0], bool):
            prediction = prediction.astype(bool)
        return Predicted(prediction, joined[1] if self.about.classifies else None)
