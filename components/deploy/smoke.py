"""The smoke test: does the server answer a real question with the version's own forecast, and how fast?"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fleetml import atomic
from fleetml.errors import StepFailed, Unavailable
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.windows import Windows
from fleetml.serving import deployment
from fleetml.serving.client import Client
from fleetml.serving.deployment import GRAPH, Card

START_SECONDS = 90.0
SWAP_SECONDS = 90.0  # the server may still be importing Feast
CALLS = 200
_TOLERANCE = 1e-3  # float32 through another batch size; relative to the largest value of the forecast


def live(root: Path, address: str, card: Card, forecaster: Forecaster, held_out: Windows) -> dict[str, Any]:
    """Test the server at `address`, which watches `root`; return p50, p99 in ms and the seconds the swap took.

    Raises StepFailed when it refuses the version or answers something else, Unavailable when it does not answer.
    """
    with Client(address, probe=True) as client:
        began = time.monotonic()
        _await(root, client, card, SWAP_SECONDS, alive=lambda: True)
        swap = time.monotonic() - began
        return {**_ask(client, card, forecaster, held_out), "swap_seconds": round(swap, 3)}


def alone(root: Path, card: Card, forecaster: Forecaster, held_out: Windows) -> dict[str, Any]:
    """The same with a server of our own that sees this version only, ended afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        served = Path(scratch)
        graph = (deployment.folder(root, card.name, card.version) / GRAPH).absolute()
        entry = deployment.Deployed(card.version, str(graph), card.sha256)
        atomic.write_json(served / deployment.POINTER, {"models": {card.name: asdict(entry)}})
        command = [sys.executable, "-m", "fleetml.serving", "--dir", str(served), "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as server:
            try:
                said = server.stdout.readline() if server.stdout else ""
                with Client(said.split()[-1] if said else "127.0.0.1:1", probe=True) as client:
                    _await(served, client, card, START_SECONDS, alive=lambda: server.poll() is None)
                    return _ask(client, card, forecaster, held_out)
            finally:
                server.terminate()


def _await(root: Path, client: Client, card: Card, seconds: float, alive: Callable[[], bool]) -> None:
    """Wait until the server says it has loaded the version, or why not."""
    deadline = time.monotonic() + seconds
    while True:
        said = deployment.status(root)
        loaded, refused = (said.get(key, {}).get(card.name, {}) for key in ("models", "refused"))
        if loaded.get("version") == card.version and loaded.get("sha256") == card.sha256:
            return
        if refused.get("version") == card.version and refused.get("sha256") == card.sha256:
            raise StepFailed(f"the server refused {card.name} version {card.version}: {refused['error']}")
        if time.monotonic() > deadline or not alive():
            raise _silent(root, client, card, said.get("address", ""))
        time.sleep(0.05)


def _silent(root: Path, client: Client, card: Card, watching: str) -> Exception:
    """Say what kept the version from being loaded."""
    if not client.healthy():
        return Unavailable(
            f"the server at {client.address} must load {card.name} version {card.version}, but nobody answers there; "
            f"start it (python -m fleetml.serving --dir {root}) or leave the address empty"
        )
    return Unavailable(
        f"the server at {client.address} answers, but did not load {card.name} version {card.version}; it must watch "
        f"{root} (last said to be watched by {watching or 'nobody'}): start it with that --dir"
    )


def _ask(client: Client, card: Card, forecaster: Forecaster, held_out: Windows) -> dict[str, Any]:
    """Compare one forecast with the graph's own, then time what a caller would ask."""
    if len(held_out) == 0:
        raise StepFailed(f"{card.name} version {card.version} cannot be tested without a test window; give more data")
    row = held_out[-1:]
    own = forecaster.forecast(row)[0].astype(np.float64)
    minutes = row.meta.horizon * row.meta.step_seconds // 60
    vm, history = str(row.vm_id[0]), row.history[0].astype(float).tolist()
    given = {
        reference: float(value)
        for reference, value in zip(row.meta.covariates, row.covariates[0], strict=True)
        if np.isfinite(value)
    }
    # Covariates go along, so that server and graph see the same; none at all would make the server look them up
    answer = client.forecast(card.name, vm, history, minutes, given or dict.fromkeys(row.meta.covariates, np.nan))
    limit = _TOLERANCE * max(1.0, float(own.max()))
    if answer.model_version != card.version or len(answer.values) != len(own):
        raise StepFailed(
            f"version {card.version} must answer with {len(own)} values, got {len(answer.values)} of version "
            f"{answer.model_version!r} for {vm}; see the server's log"
        )
    if (worst := float(np.abs(np.array(answer.values) - own).max())) > limit:
        raise StepFailed(
            f"served and own forecast of {card.name} version {card.version} may differ by {limit:.3g}, they differ by "
            f"{worst:.3g} for {vm}; see the server's log"
        )
    return _timed(client, card, vm, history, minutes)


def _timed(client: Client, card: Card, vm: str, history: list[float], minutes: int) -> dict[str, Any]:
    """Time the rpc that callers use, look-up of the covariates included."""
    taken = np.empty(CALLS)
    for call in range(-5, CALLS):
        began = time.perf_counter()
        if card.name == "bandwidth":
            answer = client.predict_bandwidth(vm, history, minutes)
        else:
            answer = client.forecast(card.name, vm, history, minutes)
        if call >= 0:
            taken[call] = time.perf_counter() - began
        if answer.model_version != card.version or not np.isfinite(answer.values).all():
            raise StepFailed(
                f"version {card.version} must answer every call, got {answer} for {vm}; see the server's log"
            )
    p50, p99 = np.percentile(taken * 1e3, (50, 99))
    return {"grpc_ms_p50": round(float(p50), 3), "grpc_ms_p99": round(float(p99), 3)}
