"""What a graph takes in memory [MB of 10^6 bytes] once it is loaded and asked one row: measured on this machine, or counted.

Measured as serving loads it, on the CPU and one thread, in a process of its own: the peak of its resident memory over what the process held
before, less the pages of libraries, which are there once however many graphs are loaded. Counted where the same graph is to give the same
figure on every machine.
"""

import ctypes
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from fleetml.errors import FleetMLError
from fleetml.learn.graph import InvalidGraph

if TYPE_CHECKING:
    import onnxruntime as ort

COPIES = 3
"""Times its size that a graph takes while it is loaded: the file, what is parsed of it, the session's own weights."""
LISTS = 3.6
"""Times what the lists of its attributes, of which trees are made, take as numbers, over and above."""
NODE = 5_800
"""Bytes of a node's kernel and names."""
ARENA = 2
"""Times what is in between that ONNX Runtime's arena takes for it: it grows by doubling."""
ROUNDS, RUNS = 2, 3
SECONDS = 300
"""No graph that answers within any budget takes longer to be loaded and asked."""
MODULE = "fleetml.learn.footprint"
_STATUS = Path("/proc/self/status")


def estimate(graph: bytes) -> float:
    """Return the MB that a graph is counted at; the constants are fitted to what forests, networks and mixtures take by `measure`.

    Its file, the lists of attributes, the nodes, and the most that one node reads and writes for one row.
    """
    model = onnx.load_from_string(graph)
    lists = LISTS * sum(_numbers(attribute) for node in model.graph.node for attribute in node.attribute)
    return (COPIES * len(graph) + lists + NODE * len(model.graph.node) + ARENA * _largest(model)) / 1e6


def measure(graphs: Mapping[str, bytes]) -> dict[str, float]:
    """Return the MB that each graph takes, the lesser of two measurements; its `estimate` where the system tells no peak (not Linux).

    Raises InvalidGraph for a graph that cannot be loaded and asked one row, or whose process dies of it.
    """
    if not _resident():
        return {name: estimate(graph) for name, graph in graphs.items()}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.onnx" for number in range(len(graphs))]
        for file, graph in zip(files, graphs.values(), strict=True):
            file.write_bytes(graph)
        return dict(zip(graphs, _asked(files), strict=True))


def _asked(files: Sequence[Path]) -> list[float]:
    """Return what a process that has nothing else in memory says of each file."""
    paths = os.pathsep.join(place for place in sys.path if place)
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-m", MODULE, *map(str, files)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=alone, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidGraph(
            f"graphs must load and answer a row in {SECONDS} s, these {len(files)} together did not; choose smaller ones"
        ) from error
    if done.returncode:
        raise InvalidGraph(done.stderr.strip().rpartition("error: ")[2])
    return [float(figure) for figure in json.loads(done.stdout)]


def _numbers(attribute: onnx.AttributeProto) -> int:
    """Return the bytes of a list as C++ holds it: an int64, a float32, a text and what points at it."""
    return 8 * len(attribute.ints) + 4 * len(attribute.floats) + 40 * len(attribute.strings)


def _largest(model: onnx.ModelProto) -> int:
    """Return the bytes of all that one node reads and writes, of the node with the most; what no shape is known of counts nothing."""
    for info in model.graph.input:
        for size in info.type.tensor_type.shape.dim:
            if not size.HasField("dim_value"):
                size.dim_value = 1
    shaped = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    sizes = {info.name: _bytes(info) for info in (*shaped.value_info, *shaped.input, *shaped.output)}
    return max((sum(sizes.get(name, 0) for name in (*node.input, *node.output)) for node in shaped.node), default=0)


def _bytes(info: onnx.ValueInfoProto) -> int:
    tensor = info.type.tensor_type
    if not tensor.elem_type or not tensor.HasField("shape"):
        return 0
    each = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
    return each * math.prod(size.dim_value for size in tensor.shape.dim)


def main(argv: Sequence[str]) -> int:
    """Print the MB of each file as JSON; return the exit status. What is measured has the libraries loaded before it begins."""
    from onnx import TensorProto, helper

    from fleetml.learn.builder import IR_VERSION, OPSET
    from fleetml.learn.forecaster import session

    one = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    least = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "least", one[:1], one[1:])
    opset = [helper.make_opsetid("", OPSET)]
    made = helper.make_model(least, ir_version=IR_VERSION, opset_imports=opset)
    session(made.SerializeToString())
    with suppress(
        OSError, AttributeError
    ):  # what the imports have left free would be taken for the first graph, and not be seen
        ctypes.CDLL(None).malloc_trim(0)
    try:
        print(json.dumps([min(_grown(Path(file)) for _ in range(ROUNDS)) for file in argv]))  # noqa: T201 - what `measure` reads
    except FleetMLError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def _grown(file: Path) -> float:
    """Return the MB that a fork of this process takes more at its peak. Raises InvalidGraph."""
    context = get_context("fork")  # a fork's peak begins with what it holds, and it need not import anything
    here, there = context.Pipe(duplex=False)
    fork = context.Process(target=_tell, args=(file, there))
    fork.start()
    there.close()
    try:
        said: float | str = here.recv()
    except EOFError:
        fork.join()
        said = (
            f"a graph must load and answer a row, its process ended with status {fork.exitcode} (memory that runs out ends so); "
            "choose a smaller one"
        )
    fork.join()
    if isinstance(said, str):
        raise InvalidGraph(said)
    return said


def _tell(file: Path, there: Connection) -> None:
    try:
        there.send(_taken(file))
    except InvalidGraph as error:
        there.send(str(error))
    except Exception as error:  # ONNX Runtime's errors share no public base
        there.send(f"a graph must answer a row of ones for its memory to be measured, got {error}; export it again")


def _taken(file: Path) -> float:
    from fleetml.learn.forecaster import session

    before = _resident()
    loaded = session(file.read_bytes())
    row = _row(loaded)
    for _ in range(RUNS):
        loaded.run(None, row)
    after = _resident()
    libraries = after["RssFile"] - before["RssFile"]
    return max(0, after["VmHWM"] - before["VmRSS"] - libraries) / 1e6


def _row(loaded: "ort.InferenceSession") -> dict[str, object]:
    """Return one row of ones for every input, of texts where it takes these."""
    import numpy as np

    types = {"float": "float32", "double": "float64", "string": "object"}
    found: dict[str, object] = {}
    for info in loaded.get_inputs():
        inner = info.type.removeprefix("tensor(").removesuffix(")")
        shape = [size if isinstance(size, int) else 1 for size in info.shape]
        found[info.name] = np.full(shape, "" if inner == "string" else 1, np.dtype(types.get(inner, inner)))
    return found


def _resident() -> dict[str, int]:
    """Return this process's resident memory [bytes] as Linux tells it, {} where nothing does: its peak, all of it, that of files."""
    try:
        lines = (line.split() for line in _STATUS.read_text().splitlines())
    except OSError:
        return {}
    found = {
        words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[0] in ("VmHWM:", "VmRSS:", "RssFile:")
    }
    return found if len(found) == 3 else {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
