"""The model server beside bare ONNX Runtime and beside peers (BENCHMARK_ONLY names some): the same graph (seasonal naive, 288 values in, 48 out).

Latency with one client, requests a second with 64, CPU of server and load generator per request; batches. The load
generator runs on the same machine. REST is JSON in all; ours also with raw tensors.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from benchmarks import load
from benchmarks.load import Load
from benchmarks.peers import serving as peers
from fleetml.learn.baselines import seasonal_naive
from fleetml.learn.windows import Meta
from fleetml.serving import backends, deployment
from fleetml.serving.deployment import Card
from fleetml.serving.proto import open_inference_pb2 as oip
from fleetml.stack.processes import wait_until
from fleetml_client import ai_service_pb2 as ai

SECONDS = float(os.environ.get("BENCHMARK_SECONDS", "5"))
WORKERS = int(os.environ.get("BENCHMARK_WORKERS", "2"))
PEERS = os.environ["BENCHMARK_ONLY"].split(",") if "BENCHMARK_ONLY" in os.environ else None
INFER = "/v2/models/bandwidth/infer"
BINARY = "application/octet-stream"
Figures = Iterator[tuple[str, float, str]]


def run() -> Figures:
    """Yield the figures of ours, then of the peers that are installed."""
    history = np.random.default_rng(0).uniform(10, 100, (1, 288)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        graph = folder / "model.onnx"
        graph.write_bytes(seasonal_naive(Meta()).SerializeToString())
        yield "bare session.run, batch 1, p50", _bare(graph, history), "ms"
        for workers in (1, WORKERS):
            yield from _ours(folder, graph, history, workers)
        for peer in peers.installed() if PEERS is None else PEERS:
            for workers in (1, WORKERS):
                (scratch := folder / f"{peer}-{workers}").mkdir()
                yield from _peer(peer, graph, scratch, history, workers)


def _ours(folder: Path, graph: Path, history: np.ndarray, workers: int) -> Figures:
    root = folder / f"serving-{workers}"
    deployment.install(root, Card("bandwidth", "1", deployment.digest(graph)), {deployment.GRAPH: graph})
    deployment.point(root, "bandwidth", "1")
    command = [sys.executable, "-m", "fleetml.serving", "--dir", str(root), "--port", "0", "--workers", str(workers)]
    with (folder / f"serving-{workers}.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        if not wait_until(lambda: bool(deployment.status(root).get("models")), 120):
            raise TimeoutError("the server did not load the model")
        yield from _asked(root, psutil.Process(server.pid), history, workers)
    finally:
        server.terminate()
        server.wait()


def _asked(root: Path, server: psutil.Process, history: np.ndarray, workers: int) -> Figures:
    told = deployment.status(root)
    web, address = told["http"], told["address"]
    many = np.repeat(history, 100, axis=0)
    one = {"vm_id": "vm-1", "historical_metrics": history[0].tolist(), "horizon_minutes": 240}
    forecast = ai.BandwidthRequest(**one).SerializeToString()
    name = f"ours, {workers} worker{'s' * (workers > 1)}"
    for clients in (1, 64):
        asked = {
            "REST JSON": load.http(web, INFER, peers.tensors(history), clients, SECONDS, server, "application/json"),
            "REST raw tensors": _raw(web, history, clients, server),
            "gRPC unary": load.rpc(address, _OIP + "ModelInfer", _infer(history), clients, SECONDS, server),
            "gRPC stream": load.stream(address, _OIP + "ModelStreamInfer", _infer(history), clients, SECONDS, server),
            "gRPC PredictBandwidth": load.rpc(address, _AI + "PredictBandwidth", forecast, clients, SECONDS, server),
            "REST predict": load.http(
                web, "/api/v1/predict", json.dumps(one).encode(), clients, SECONDS, server, "application/json"
            ),
        }
        for protocol, found in asked.items():
            yield from _told(f"{name}, {protocol}", clients, found)
    if workers > 1:
        return
    rows = np.repeat(history, 4096, axis=0)
    big = load.rpc(address, _OIP + "ModelInfer", _infer(rows), 2, SECONDS, server)
    yield f"{name}, batches of 4096 rows by gRPC", big.rate * len(rows), "rows/s"
    single, batch = _raw(web, history, 1, server), _raw(web, many, 1, server)
    yield f"{name}, raw tensors: 100 single calls / one of 100", 100 * single.quantile(0.5) / batch.quantile(0.5), "x"
    body = json.dumps({"requests": [one] * 100}).encode()
    single = load.http(web, "/api/v1/predict", json.dumps(one).encode(), 1, SECONDS, server, "application/json")
    batch = load.http(web, "/api/v1/predict/batch", body, 1, SECONDS, server, "application/json")
    yield f"{name}, JSON predict: 100 single calls / one of 100", 100 * single.quantile(0.5) / batch.quantile(0.5), "x"


_OIP, _AI = "/inference.GRPCInferenceService/", "/novacron.ai.AIService/"


def _peer(name: str, graph: Path, folder: Path, history: np.ndarray, workers: int) -> Figures:
    try:
        with peers.running(name, graph, folder, history, workers) as peer:
            for clients in (1, 64):
                found = load.http(
                    peer.address, peer.path, peer.body, clients, SECONDS, peer.process, "application/json"
                )
                yield from _told(f"{name}, {workers} worker{'s' * (workers > 1)}, REST JSON", clients, found)
                if peer.grpc:
                    asked = (peer.grpc, _OIP + "ModelInfer", _infer(history, "forecaster"), clients, SECONDS)
                    yield from _told(f"{name}, {workers} workers, gRPC unary", clients, load.rpc(*asked, peer.process))
    except (TimeoutError, RuntimeError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)


def _told(name: str, clients: int, found: Load) -> Figures:
    place = f"{name}, {clients} client{'s' * (clients > 1)}"
    for share in (0.5, 0.99):
        yield f"{place}, p{share * 100:g}", found.quantile(share), "ms"
    yield f"{place}, requests", found.rate, "1/s"
    yield f"{place}, CPU of the server per request", found.server_cpu / len(found.taken) * 1e3, "ms"
    yield f"{place}, CPU of the load generator per request", found.client_cpu / len(found.taken) * 1e3, "ms"


def _raw(web: str, history: np.ndarray, clients: int, server: psutil.Process) -> Load:
    """JSON head and raw tensors behind it; the header that tells its length goes with the type's."""
    parts = {"history": history, "covariates": np.empty((len(history), 0), np.float32)}
    inputs = [
        {"name": name, "shape": list(a.shape), "datatype": "FP32", "parameters": {"binary_data_size": a.nbytes}}
        for name, a in parts.items()
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    kind = f"{BINARY}\r\nInference-Header-Content-Length: {len(head)}"
    return load.http(web, INFER, head + history.tobytes(), clients, SECONDS, server, kind)


def _infer(history: np.ndarray, model: str = "bandwidth") -> bytes:
    request = oip.ModelInferRequest(model_name=model)
    for name, array in (("history", history), ("covariates", np.empty((len(history), 0), np.float32))):
        request.inputs.add(name=name, datatype="FP32", shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request.SerializeToString()


def _bare(graph: Path, history: np.ndarray) -> float:
    session = backends.choose("cpu").load(graph.read_bytes())
    given = {"history": history, "covariates": np.empty((1, 0), np.float32)}
    taken = []
    for _ in range(5000):
        began = time.perf_counter()
        session.run(given)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) * 1e3
