"""Our model server as a subject of `benchmarks.serving`: how it is started and what it is asked."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.load import Ask
from fleetml.serving import deployment
from fleetml.serving.deployment import Card
from fleetml.serving.proto import open_inference_pb2 as oip
from fleetml.stack.processes import wait_until
from fleetml_client import ai_service_pb2 as ai

INFER = "/v2/models/bandwidth/infer"
OIP, AI = "/inference.GRPCInferenceService/", "/novacron.ai.AIService/"


@dataclass(frozen=True)
class Subject:
    """A server that runs, and what it is asked by the name of the protocol."""

    name: str
    process: psutil.Process
    asks: Mapping[str, Ask]
    batches: Mapping[str, Ask]


@contextlib.contextmanager
def running(graph: Path, folder: Path, history: np.ndarray, workers: int) -> Iterator[Subject]:
    """Start the server with `workers`; raises TimeoutError when it does not load the graph."""
    root = folder / f"serving-{workers}"
    deployment.install(root, Card("bandwidth", "1", deployment.digest(graph)), {deployment.GRAPH: graph})
    deployment.point(root, "bandwidth", "1")
    command = [sys.executable, "-m", "fleetml.serving", "--dir", str(root), "--port", "0", "--workers", str(workers)]
    with (folder / f"serving-{workers}.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        if not wait_until(lambda: bool(deployment.status(root).get("models")), 120):
            raise TimeoutError("the server did not load the model")
        told = deployment.status(root)
        asks = _asks(told["http"], told["address"], history)
        yield Subject("ours", psutil.Process(server.pid), asks, _batches(told["http"], told["address"], history))
    finally:
        server.terminate()
        server.wait()


def tensors(history: np.ndarray) -> bytes:
    """An inference request of the open protocol in JSON; covariates are left out where a row has none."""
    inputs = [{"name": "history", "shape": list(history.shape), "datatype": "FP32", "data": history.ravel().tolist()}]
    inputs.append({"name": "covariates", "shape": [len(history), 0], "datatype": "FP32", "data": []})
    return json.dumps({"inputs": inputs}).encode()


def infer(history: np.ndarray, model: str = "bandwidth") -> bytes:
    """The same as a message with raw tensors."""
    request = oip.ModelInferRequest(model_name=model)
    for name, array in _parts(history).items():
        request.inputs.add(name=name, datatype="FP32", shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request.SerializeToString()


def _parts(history: np.ndarray) -> dict[str, np.ndarray]:
    return {"history": history, "covariates": np.empty((len(history), 0), np.float32)}


def _asks(web: str, address: str, history: np.ndarray) -> dict[str, Ask]:
    one = _question(history)
    message = ai.BandwidthRequest(**one).SerializeToString()
    return {
        "REST JSON": Ask("http", web, INFER, tensors(history)),
        "REST raw tensors": _raw(web, history),
        "REST predict": Ask("http", web, "/api/v1/predict", json.dumps(one).encode()),
        "gRPC unary": Ask("unary", address, OIP + "ModelInfer", infer(history)),
        "gRPC stream": Ask("stream", address, OIP + "ModelStreamInfer", infer(history)),
        "gRPC PredictBandwidth": Ask("unary", address, AI + "PredictBandwidth", message),
    }


def _batches(web: str, address: str, history: np.ndarray) -> dict[str, Ask]:
    many = np.repeat(history, 100, axis=0)
    questions = json.dumps({"requests": [_question(history)] * 100}).encode()
    return {
        "4096 rows": Ask("unary", address, OIP + "ModelInfer", infer(np.repeat(history, 4096, axis=0))),
        "REST raw tensors": _raw(web, many),
        "REST JSON": Ask("http", web, INFER, tensors(many)),
        "REST predict": Ask("http", web, "/api/v1/predict/batch", questions),
    }


def _question(history: np.ndarray) -> dict[str, object]:
    return {"vm_id": "vm-1", "historical_metrics": history[0].tolist(), "horizon_minutes": 240}


def _raw(web: str, history: np.ndarray) -> Ask:
    """JSON head and raw tensors behind it; the header that tells its length goes with the type's."""
    inputs = [
        {"name": name, "shape": list(a.shape), "datatype": "FP32", "parameters": {"binary_data_size": a.nbytes}}
        for name, a in _parts(history).items()
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    kind = f"application/octet-stream\r\nInference-Header-Content-Length: {len(head)}"
    return Ask("http", web, INFER, head + history.tobytes(), kind)
