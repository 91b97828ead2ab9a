"""Servers of peers with the same graph, each as its own documentation writes it; one that is not installed is left out.

Their environments: .venv/peers-serving/<litserve|bentoml|mlserver>, each `python -m venv` and `pip install <peer> onnxruntime`
(BENCHMARK_PEERS names another folder); mlflow is in .venv/ml. The workers of MLServer 1.7 need 'uvloop<0.22'.
"""

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from benchmarks.load import Ask
from benchmarks.peers import ROOT
from benchmarks.serving_ours import OIP, Subject, infer, tensors
from fleetml.stack import ports
from fleetml.stack.processes import wait_until

HERE = Path(__file__).parent
VENVS = Path(os.environ.get("BENCHMARK_PEERS", ROOT / ".venv" / "peers-serving"))


def installed() -> list[str]:
    """Return the peers that can be started here."""
    return [name for name in ("litserve", "bentoml", "mlserver") if (VENVS / name / "bin" / name).exists()] + ["mlflow"]


@contextlib.contextmanager
def running(name: str, graph: Path, folder: Path, history: np.ndarray, workers: int) -> Iterator[Subject]:
    """Start a peer with `workers` processes; raises TimeoutError when it does not answer."""
    port, grpc = ports.free(), ports.free()
    rows = history.tolist()
    body = json.dumps({"history": rows}).encode()
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "FORECASTER": str(graph),
        "WORKERS": str(workers),
        "BENTOML_DO_NOT_TRACK": "1",
    }
    path = "/predict"
    python = str(VENVS / name / "bin" / "python")
    command = [python, str(HERE / "serving_litserve.py"), str(graph), str(port), str(workers)]
    if name == "bentoml":
        path, command = "/forecast", [python, "-m", "bentoml", "serve", "serving_bentoml:Forecaster", "-p", str(port)]
    elif name == "mlserver":
        path, body = "/v2/models/forecaster/infer", tensors(history)
        command = [str(VENVS / name / "bin" / name), "start", str(_mlserver(folder, graph, (port, grpc), workers))]
        env["PYTHONPATH"] = str(HERE)
    elif name == "mlflow":
        path = "/invocations"
        body = json.dumps({"inputs": {"history": rows}}).encode()
        model = _mlflow(folder, graph)
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "-p", str(port)]
        command += ["--env-manager", "local", "-w", str(workers)]
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=HERE, env=env, stdout=log, stderr=log)
    try:
        if not wait_until(lambda: _answers(port, path, body), 180):
            raise TimeoutError(f"{name} does not answer; see {folder / f'{name}.log'}")
        asks = {"REST JSON": Ask("http", f"127.0.0.1:{port}", path, body)}
        if name == "mlserver":
            asks["gRPC unary"] = Ask("unary", f"127.0.0.1:{grpc}", OIP + "ModelInfer", infer(history, "forecaster"))
        yield Subject(name, psutil.Process(process.pid), asks, {})
    finally:
        _end(psutil.Process(process.pid))
        process.wait()


def _mlserver(folder: Path, graph: Path, addresses: tuple[int, int], workers: int) -> Path:
    place = folder / "mlserver"
    place.mkdir()
    settings = {"http_port": addresses[0], "grpc_port": addresses[1], "metrics_port": ports.free(), "debug": False}
    (place / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0 if workers == 1 else workers}))
    model = {"name": "forecaster", "implementation": "serving_mlserver.Forecaster", "parameters": {"uri": str(graph)}}
    (place / "model-settings.json").write_text(json.dumps(model))
    return place


def _mlflow(folder: Path, graph: Path) -> Path:
    """A pyfunc with one input, as users log them: MLflow's own ONNX flavour cannot have an input of no columns."""
    import mlflow

    place = folder / "mlflow"
    code = HERE / "serving_mlflow.py"
    mlflow.pyfunc.save_model(str(place), python_model=str(code), artifacts={"graph": str(graph)}, pip_requirements=[])
    return place


def _answers(port: int, path: str, body: bytes) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        everyone = [process, *process.children(recursive=True)]
        for each in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.terminate()
        _, left = psutil.wait_procs(everyone, timeout=10)
        for each in left:
            each.kill()
