"""The child process of a conversion: ``python -m fleetml.imports.child FORMAT FILE FOLDER``. See `fleetml.imports.conversion`.

Writes into FOLDER the graph, what the original was asked and what it answered; or ``error.json``.
"""

import contextlib
import importlib
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from fleetml.errors import FleetMLError

MEMORY_BYTES, CPU_SECONDS, FILE_BYTES = 8 << 30, 600, 4 << 30
GRAPH, GIVEN, INPUTS, ANSWERS, ABOUT, ERROR = (
    "model.onnx", "given.npz", "inputs.npz", "answers.npz", "about.json", "error.json",
)  # fmt: skip


def convert(module: str, path: Path, folder: Path) -> None:
    """Open the model, make its graph, ask it. Raises as sources and samples do."""
    from fleetml.imports import arrays, samples

    given = arrays.read(folder / GIVEN)
    source = importlib.import_module(f"fleetml.imports.sources.{module}").open(path, given)
    graph = source.graph()
    inputs = samples.inputs(graph, source.columns, given, source.missing)
    answers = source.run(inputs)
    _free_rows(graph)
    (folder / GRAPH).write_bytes(graph.SerializeToString())
    arrays.write(folder / INPUTS, inputs)
    names = [info.name for info in graph.graph.output]
    arrays.write(folder / ANSWERS, dict(zip(names, answers, strict=True)))
    (folder / ABOUT).write_text(json.dumps({"columns": source.columns, "versions": _versions()}))


def _free_rows(graph: object) -> None:
    """Outputs of as many rows as there are inputs: one converter says that labels have 1, whatever comes in."""
    infos = (*graph.graph.input, *graph.graph.output)  # type: ignore[attr-defined]
    shapes = [info.type.tensor_type.shape.dim for info in infos if info.type.HasField("tensor_type")]
    if shapes and all(dims and not dims[0].HasField("dim_value") for dims in shapes[: len(graph.graph.input)]):  # type: ignore[attr-defined]
        for dims in shapes:
            if dims and not (dims[0].HasField("dim_value") and dims[0].dim_value > 1):
                dims[0].dim_param = "batch"


def _versions() -> dict[str, str]:
    """Return the versions of the libraries that had a part in it."""
    from importlib import metadata

    named = {"sklearn": "scikit-learn", "tensorflow": "tensorflow-cpu"}
    wanted = (
        "sklearn",
        "skops",
        "skl2onnx",
        "onnxmltools",
        "xgboost",
        "lightgbm",
        "torch",
        "keras",
        "tensorflow",
        "tf2onnx",
    )
    found = {}
    for module in (*wanted, "onnx", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            if module in sys.modules:
                found[named.get(module, module)] = metadata.version(named.get(module, module))
    return found


def main(argv: Sequence[str]) -> int:
    """Convert under limits; return 0, or 1 with the reason in ``error.json``."""
    module, path, folder = argv
    # Of data only: libraries reserve far more addresses than they use.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    try:
        convert(module, Path(path), Path(folder))
    except Exception as error:
        kind = type(error).__name__ if isinstance(error, FleetMLError) else ""
        said = str(error) if kind else f"{type(error).__name__}: {error}"
        (Path(folder) / ERROR).write_text(json.dumps({"kind": kind, "message": said}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
