"""From trained Python models to the one graph that is judged and served, and the proof that both are equal."""

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort

from fleetml.learn import parameters
from fleetml.learn.builder import OPSET
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.graph import InvalidGraph, finish
from fleetml.learn.windows import Floats, Meta, Windows

if TYPE_CHECKING:
    from torch import nn

# Python and graph add in different orders and in different precisions; more than this is another model.
TOLERANCE = 1e-3


def from_torch(
    network: "nn.Module", meta: Meta, hyperparameters: dict[str, Any], quantiles: Sequence[float] = ()
) -> onnx.ModelProto:
    """Return the finished forecaster graph of a network, trained or not; `quantiles` are the levels of its second output.

    The network's `family` is the graph's. `fleetml.learn.parameters` finds its weights in the graph again.

    By the TorchScript exporter: 0.2 to 0.4 s a network here, where the dynamo exporter takes 4 to 10 s and 17 s for its
    first (measured with torch 2.13), more than training does. It is deprecated; `dynamo=True` is the change to make.
    """
    import torch

    network.eval()
    example = (torch.rand(2, meta.context), torch.rand(2, len(meta.covariates)))
    widths = {"forecast": (meta.horizon,), **({"quantiles": (meta.horizon, len(quantiles))} if quantiles else {})}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            network,
            example,
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["history", "covariates"],
            output_names=list(widths),
            dynamic_axes={name: {0: "batch"} for name in ("history", "covariates", *widths)},
        )
        exported = onnx.load(path)
    model = simplify(exported)
    for output in model.graph.output:  # the exporter loses some widths, that of a horizon of one step among them
        dims = output.type.tensor_type.shape.dim
        for dim, width in zip(list(dims)[1:], widths[output.name], strict=True):
            dim.dim_value = width
    if len(model.graph.input) == 1:  # the exporter drops what the network does not read
        shape: list[int | str] = ["batch", len(meta.covariates)]
        model.graph.input.append(onnx.helper.make_tensor_value_info("covariates", onnx.TensorProto.FLOAT, shape))
    finished = finish(model, meta, str(network.family), hyperparameters, quantiles)
    parameters.write(network, finished)
    return finished


def from_estimator(
    estimator: Any, meta: Meta, seasonal: bool, family: str, hyperparameters: dict[str, Any]
) -> onnx.ModelProto:
    """Return the finished forecaster graph of an estimator fitted to `tabular_rows`: rows, estimator, forecasts in one."""
    from fleetml.learn import tabular, tabular_rows

    head = tabular_rows.graph(meta, seasonal)
    features = head.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    body = onnx.compose.add_prefix(tabular.convert(family, estimator, features), "model_")
    tail = onnx.compose.add_prefix(tabular_rows.forecasts(meta), "tail_")
    said = body.graph.output[0].name
    kept = [info.name for info in head.graph.output if info.name != "rows"]
    middle = onnx.compose.merge_models(head, body, io_map=[("rows", "model_rows")], outputs=[said, *kept])
    links = [(said, "tail_transformed"), *((name, f"tail_{name}") for name in kept)]
    model = onnx.compose.merge_models(middle, tail, io_map=links)
    # Merging lists a domain once a part, which the quantiser takes for none
    single = list({opset.domain: opset for opset in model.opset_import}.values())
    del model.opset_import[:]
    model.opset_import.extend(single)
    return finish(_renamed(model, "tail_forecast", "forecast"), meta, family, hyperparameters)


def _renamed(model: onnx.ModelProto, old: str, new: str) -> onnx.ModelProto:
    """Return the model with its one output renamed."""
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == old:
                node.output[place] = new
    model.graph.output[0].name = new
    return model


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants and drop what has no effect, by ONNX Runtime's basic (standard operators only) optimizer."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "model.onnx")
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        simple = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in simple.graph.node}
    kept = [opset for opset in simple.opset_import if opset.domain in used]
    del simple.opset_import[:]
    simple.opset_import.extend(kept)
    del simple.graph.value_info[:]
    return simple


def check_equal(model: onnx.ModelProto, windows: Windows, expected: Floats, tolerance: float = TOLERANCE) -> float:
    """Return how far the graph's forecasts are from the Python model's: the mean over windows of MAE / scale.

    Raises InvalidGraph above `tolerance`. The measure is that of the score itself, because a tree flips to another
    leaf when a float32 feature differs in its last bit: a few rows may differ, the score must not.
    """
    forecast = Forecaster(model.SerializeToString()).forecast(windows)
    scored = windows.scale > 0
    apart = np.abs(forecast - expected).mean(axis=1)[scored] / windows.scale[scored]
    distance = float(apart.mean()) if len(apart) else 0.0
    if not distance <= tolerance:
        raise InvalidGraph(
            f"a graph must forecast what its Python model does (mean MAE/scale <= {tolerance}), got {distance:.3g}; "
            "the conversion changed the model"
        )
    return distance
