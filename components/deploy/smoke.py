"""The smoke test: does the server answer a real question as the version's own graph does, and how fast?"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from fleetml import atomic
from fleetml.errors import StepFailed, Unavailable
from fleetml.serving import deployment
from fleetml.serving.client import Client
from fleetml.serving.deployment import GRAPH, Card

START_SECONDS = 90.0
SWAP_SECONDS = 90.0  # the server may still be importing Feast


class Trial(Protocol):
    """What a version is asked."""

    def ask(self, client: Client, card: Card) -> dict[str, Any]:
        """Compare an answer with the graph's own, then return p50 and p99 in ms of what callers ask. Raises StepFailed."""
        ...


def live(root: Path, address: str, card: Card, trial: Trial) -> dict[str, Any]:
    """Test the server at `address`, which watches `root`; return p50, p99 in ms and the seconds the swap took.

    Raises StepFailed when it refuses the version or answers something else, Unavailable when it does not answer.
    """
    tls = bool(deployment.status(root).get("tls"))
    with Client(address, probe=True, token=deployment.token(root), tls=tls) as client:
        began = time.monotonic()
        _await(root, client, card, SWAP_SECONDS, alive=lambda: True)
        swap = time.monotonic() - began
        return {**trial.ask(client, card), "swap_seconds": round(swap, 3)}


def alone(root: Path, card: Card, trial: Trial) -> dict[str, Any]:
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
                    return trial.ask(client, card)
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
        if (now := deployment.read(root).get(card.name)) and not _meant(now, card):
            raise StepFailed(
                f"{card.name} version {card.version} must be what is served while it is tested, got version {now.version}: "
                "another deploy came in between; deploy again if this is the one you want"
            )
        if time.monotonic() > deadline or not alive():
            raise _silent(root, client, card, said.get("address", ""))
        time.sleep(0.05)


def _meant(now: deployment.Deployed, card: Card) -> bool:
    return card.version in (now.version, now.rollout.version if now.rollout else "")


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
