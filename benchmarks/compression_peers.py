"""NNCF, ModelOpt and torchao applied plainly, in .venv/peers-compress: `folder` holds what to compress; prints a line of JSON.

model.onnx and calibration.npz (the graph's inputs) -> compressed.onnx by NNCF and ModelOpt; network.pt, which torchao quantises as
a torch module, and judged.npz (inputs, target, scale): it has no ONNX export, so torch itself is timed.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np


def nncf(folder: Path) -> dict[str, Any]:
    """Post-training quantisation with its defaults."""
    import nncf
    import onnx

    rows = np.load(folder / "calibration.npz")
    count = len(rows[rows.files[0]])
    feeds = [{name: rows[name][at : at + 1] for name in rows.files} for at in range(count)]
    made = nncf.quantize(onnx.load(folder / "model.onnx"), nncf.Dataset(feeds), subset_size=count)
    onnx.save(made, folder / "compressed.onnx")
    return {}


def modelopt(folder: Path) -> dict[str, Any]:
    """ModelOpt's INT8 for ONNX with its defaults, but calibrated on the CPU, with 32 rows: with 256 it took over 6 minutes."""
    from modelopt.onnx.quantization import quantize

    rows = {name: values[:: max(1, len(values) // 32)] for name, values in np.load(folder / "calibration.npz").items()}
    target = str(folder / "compressed.onnx")
    quantize(
        str(folder / "model.onnx"),
        calibration_data=rows,
        output_path=target,
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
    )
    return {}


def torchao(folder: Path) -> dict[str, Any]:
    """INT8 weights and activations of the dense layers; what torch takes before and after, and the error after."""
    sys.modules |= {name: MagicMock() for name in ("pyarrow", "pyarrow.parquet")}  # the network needs none
    import torch
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    network = torch.load(
        folder / "network.pt", weights_only=False
    ).eval()  # written by the benchmark itself, a moment ago
    rows = np.load(folder / "judged.npz")
    inputs = [torch.from_numpy(rows[name]) for name in ("history", "covariates")]
    before, size = _milliseconds(network, inputs), _bytes(network, folder)
    quantize_(network, Int8DynamicActivationInt8WeightConfig())
    with torch.no_grad():
        error = np.nanmean(np.abs(network(*inputs).numpy() - rows["target"]), axis=1) / rows["scale"]
    after = _milliseconds(network, inputs)
    return {
        "figure": float(error.mean()),
        "latency_ms": after,
        "latency_before_ms": before,
        "ratio": size / _bytes(network, folder),
    }


def _milliseconds(network: Any, inputs: Any) -> float:
    import torch

    row = [values[:1] for values in inputs]
    taken = []
    with torch.no_grad():
        for _ in range(120):
            begun = time.perf_counter()
            network(*row)
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken[20:]) * 1e3


def _bytes(network: Any, folder: Path) -> int:
    import torch

    torch.save(network.state_dict(), folder / "state.pt")
    return (folder / "state.pt").stat().st_size


PEERS: dict[str, Callable[[Path], dict[str, Any]]] = {"nncf": nncf, "modelopt": modelopt, "torchao": torchao}

if __name__ == "__main__":
    print(json.dumps(PEERS[sys.argv[1]](Path(sys.argv[2]))))
