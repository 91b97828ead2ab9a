"""A region's node for the tests: ``python -m tests.components.federated.region LINK FOLDER NAME``.

It fits a line to points of its own. How it behaves stands in FOLDER/NAME.mood: "" honest; nan, shape, huge: it lies; die: it is
killed while it trains; wait: it trains no more until somebody opens FOLDER/NAME.gate (a FIFO) for writing.
What leaves it is appended to FOLDER/NAME.sent: the name, the size and the bytes of each request.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import zlib
from pathlib import Path

import httpx
import numpy as np
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from components.federated.app import REGION, client_app
from components.federated.learner import Arrays, Task
from components.federated.node import Node
from components.federated.protection import MODS

ROWS = 64


def points(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the region's data: inputs [ROWS, 3] and the values of one plane at them, with its own noise; float32."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    inputs = rng.normal(size=(ROWS, 3)).astype(np.float32)
    noise = rng.normal(scale=0.1, size=ROWS)
    return inputs, (inputs @ [1.0, -2.0, 3.0] + 0.5 + noise).astype(np.float32)


START: Arrays = {"weights": np.zeros(3, np.float32), "bias": np.zeros(1, np.float32)}


class Line:
    """Least squares by stochastic gradient descent."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self._name, self._folder = name, folder
        self._inputs, self._values = points(name)

    @property
    def examples(self) -> int:
        return len(self._values)

    def judge(self, arrays: Arrays) -> float:
        return float(np.abs(self._inputs @ arrays["weights"] + arrays["bias"] - self._values).mean())

    def fit(self, arrays: Arrays, task: Task) -> tuple[Arrays, float]:
        weights, bias = arrays["weights"].astype(np.float64), arrays["bias"].astype(np.float64)
        order = np.random.default_rng(task.seed)
        for _ in range(task.epochs):
            for row in order.permutation(len(self._values)):
                error = self._inputs[row] @ weights + bias - self._values[row]
                weights, bias = weights - 0.02 * error * self._inputs[row], bias - 0.02 * error
        return self._moody({"weights": weights.astype(np.float32), "bias": bias.astype(np.float32)}), 0.0

    def _moody(self, fitted: Arrays) -> Arrays:
        mood = (self._folder / f"{self._name}.mood").read_text() if self._folder else ""
        if mood == "nan":
            return {**fitted, "bias": np.full(1, np.nan, np.float32)}
        if mood == "shape":
            return {**fitted, "weights": np.zeros((3, 3), np.float32)}
        if mood == "huge":
            return {name: np.full_like(values, 1e6) for name, values in fitted.items()}
        if mood == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if mood == "wait" and self._folder:
            (self._folder / f"{self._name}.gate").open().close()
        return fitted


class Sent:
    """Keeps what leaves a node."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        content = context.message.SerializeToString()
        with self._path.open("ab") as file:
            file.write(f"{context.rpc_method} {len(content)}\n".encode() + content)
        return call_next(context)


def main(link: str, folder: Path, name: str) -> None:
    logging.basicConfig(level=logging.WARNING)
    node = Node(link, folder / "link/authority.pem", folder / f"{name}.key", watchers=(Sent(folder / f"{name}.sent"),))
    signal.signal(signal.SIGTERM, lambda *_: node.end())
    learner = Line(name, folder)
    node.serve(client_app(lambda context: learner, MODS), {REGION: name})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
