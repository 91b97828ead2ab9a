"""One forecast over gRPC, one client: the seasonal naive graph, so what is timed is the way to it and back."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fleetml.learn.baselines import seasonal_naive
from fleetml.learn.windows import Meta
from fleetml.serving import deployment
from fleetml.serving.client import Client
from fleetml.stack import ports
from fleetml.stack.processes import wait_until

CALLS = 2000


def run() -> Iterator[tuple[str, float, str]]:
    """Yield the median and the 99th percentile of one call."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "serving"
        graph = Path(folder) / "model.onnx"
        graph.write_bytes(seasonal_naive(Meta()).SerializeToString())
        deployment.install(root, deployment.Card("bandwidth", "1", deployment.digest(graph)), {deployment.GRAPH: graph})
        deployment.point(root, "bandwidth", "1")
        port = ports.free()
        server = subprocess.Popen(
            [sys.executable, "-m", "fleetml.serving", "--dir", str(root), "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            taken = _calls(f"{ports.HOST}:{port}")
        finally:
            server.terminate()
            server.wait()
    for name, value in zip(("p50", "p99"), np.percentile(taken[CALLS // 10 :], (50, 99)), strict=True):
        yield f"PredictBandwidth, one client, {name}", float(value) * 1e3, "ms"


def _calls(address: str) -> list[float]:
    history = np.random.default_rng(0).uniform(10, 100, 288).tolist()
    taken = []
    with Client(address) as client:
        if not wait_until(lambda: client.healthy(), 60):
            raise TimeoutError(f"no server at {address}")
        for _ in range(CALLS):
            began = time.perf_counter()
            client.predict_bandwidth("vm-1", history, 240)
            taken.append(time.perf_counter() - began)
    return taken
