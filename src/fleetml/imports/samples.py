"""Rows that the original and its graph are both asked: a user's, else drawn at what the graph looks at."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetml.errors import InvalidData, InvalidParameter
from fleetml.imports.arrays import Array, Arrays, read

if TYPE_CHECKING:
    import onnx

ROWS = 256
MAX_NUMBERS = 1 << 27  # of all drawn rows of an input
_OTHER = 8  # the length of a free dimension that is not the first
_SEED = 0


def given(path: Path) -> dict[str, Array]:
    """Return the arrays of a .npz (by input) or .npy, or the columns of a .parquet or .csv. Raises InvalidParameter, InvalidData."""
    suffix = path.suffix.lower()
    try:
        if suffix in (".npz", ".npy"):
            return read(path)
        if suffix in (".parquet", ".csv"):
            return _columns(path, suffix)
    except (OSError, ValueError) as error:
        raise InvalidData(f"samples must be readable, {path} is not: {error}; write the file again") from error
    raise InvalidParameter(f"samples are a .npz, .npy, .parquet or .csv file, got {path}; convert it")


def _columns(path: Path, suffix: str) -> dict[str, Array]:
    import polars as pl

    try:
        frame = pl.read_parquet(path) if suffix == ".parquet" else pl.read_csv(path, infer_schema_length=None)
        return {
            name: np.array([text or "" for text in column.to_list()], str)
            if column.dtype == pl.String
            else column.cast(pl.Float64).to_numpy()
            for name, column in zip(frame.columns, frame.get_columns(), strict=True)
        }
    except pl.exceptions.PolarsError as error:
        raise InvalidData(f"samples must be readable, {path} is not: {error}; write the file again") from error


def inputs(graph: "onnx.ModelProto", columns: Sequence[str], wanted: Arrays, missing: bool) -> dict[str, Array]:
    """Return the graph's inputs: from the samples `wanted`, drawn where there are none.

    One matrix takes its columns by the model's names of them, else in their order; arrays named as outputs are answers. Raises
    InvalidParameter for samples that do not fit, InvalidData for an input that is no tensor.
    """
    weights = {tensor.name for tensor in graph.graph.initializer}
    infos = [info for info in graph.graph.input if info.name not in weights]
    if not wanted:
        return _drawn(graph, infos, missing)
    answers = {info.name for info in graph.graph.output} - {info.name for info in infos} - set(columns)
    if not (wanted := {name: array for name, array in wanted.items() if name not in answers}):
        raise InvalidParameter(f"samples hold rows, these hold the answers {', '.join(answers)} alone; add the rows")
    if len(infos) == 1 and infos[0].name not in wanted:
        return {infos[0].name: _matrix(infos[0], columns, wanted)}
    if lacking := [info.name for info in infos if info.name not in wanted]:
        raise InvalidParameter(
            f"samples must hold the inputs {', '.join(info.name for info in infos)}, {', '.join(lacking)} is missing of "
            f"{', '.join(wanted)}; name the arrays or columns so"
        )
    return {info.name: _fitted(info, wanted[info.name]) for info in infos}


def _matrix(info: Any, columns: Sequence[str], wanted: Arrays) -> Array:
    if len(wanted) == 1 and next(iter(wanted.values())).ndim > 1:
        return _fitted(info, next(iter(wanted.values())))
    named = [wanted[name] for name in columns] if columns and set(columns) <= set(wanted) else list(wanted.values())
    if any(column.dtype.kind in "UO" for column in named):
        raise InvalidParameter(
            f"samples of a matrix are numbers, {', '.join(n for n, a in wanted.items() if a.dtype.kind in 'UO')} is text; "
            "leave it out, or import a pipeline that knows its columns by name"
        )
    return _fitted(info, np.stack(named, axis=1))


def _fitted(info: Any, array: Array) -> Array:
    dtype, shape = _dtype(info), _shape(info)
    if array.ndim == 1 and len(shape) == 2:
        array = array.reshape(-1, 1)
    fits = array.ndim == len(shape) and all(
        size is None or size == found for size, found in zip(shape, array.shape, strict=True)
    )
    if not fits or not array.size:
        wanted = ["any" if size is None else size for size in shape]
        raise InvalidParameter(
            f"samples of {info.name} must have the shape {wanted}, got {list(array.shape)}; correct it"
        )
    if dtype.kind in "iub" and array.dtype.kind == "f" and not (np.isfinite(array) & (array == np.trunc(array))).all():
        raise InvalidParameter(
            f"samples of {info.name} are whole numbers ({dtype}), these hold fractions or missing values; correct or fill them"
        )
    return array.astype(dtype)


def _drawn(graph: "onnx.ModelProto", infos: Sequence[Any], missing: bool) -> dict[str, Array]:
    random = np.random.default_rng(_SEED)
    found = {info.name: _random(random, info) for info in infos}
    if len(infos) == 1 and (values := found[infos[0].name]).dtype.kind == "f" and values.ndim == 2:
        _at_thresholds(random, graph, values)
        values[random.random(values.shape) < 0.05] = 0  # some models take zeros for missing
        if missing:
            values[random.random(values.shape) < 0.05] = np.nan
    return found


def _random(random: np.random.Generator, info: Any) -> Array:
    dtype = _dtype(info)
    shape = [(_OTHER if at else ROWS) if size is None else size for at, size in enumerate(_shape(info))]
    if math.prod(shape) > MAX_NUMBERS:
        raise InvalidData(
            f"{ROWS} drawn rows of an input have at most {MAX_NUMBERS:,} numbers, those of {info.name} have the shape {shape}; "
            "export the model with the sizes that it is asked with"
        )
    if dtype.kind == "f":
        return (
            random.normal(size=shape) * random.choice([0.1, 1.0, 10.0], size=(shape[0], *[1] * (len(shape) - 1)))
        ).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)


def _at_thresholds(random: np.random.Generator, graph: "onnx.ModelProto", values: Array) -> None:
    """Half of the values become thresholds of the graph's trees, or their neighbours: where a conversion goes wrong, it is there."""
    for column, found in _thresholds(graph).items():
        if column < values.shape[1]:
            rows = random.random(len(values)) < 0.5
            picked = random.choice(np.array(found, np.float32), rows.sum())
            toward = np.float32(np.inf) * random.choice([-1, 1], rows.sum()).astype(np.float32)
            values[rows, column] = np.where(random.random(rows.sum()) < 0.5, picked, np.nextafter(picked, toward))


def _thresholds(graph: "onnx.ModelProto") -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for node in graph.graph.node:
        held = {attribute.name: attribute for attribute in node.attribute}
        if "nodes_featureids" in held:
            modes = held["nodes_modes"].strings
            pairs = zip(held["nodes_featureids"].ints, held["nodes_values"].floats, modes, strict=False)
            for column, value, mode in pairs:
                if mode != b"LEAF" and np.isfinite(value):
                    found.setdefault(column, []).append(value)
    return found


def _dtype(info: Any) -> np.dtype[Any]:
    from onnx import TensorProto, helper

    if not info.type.HasField("tensor_type"):
        raise InvalidData(f"an input is a tensor, {info.name} is none; export the model with plain tensors")
    kind = info.type.tensor_type.elem_type
    return np.dtype(str) if kind == TensorProto.STRING else np.dtype(helper.tensor_dtype_to_np_dtype(kind))


def _shape(info: Any) -> list[int | None]:
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in info.type.tensor_type.shape.dim]
