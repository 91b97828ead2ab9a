"""A link and nodes of regions as processes on this machine, for tests; ended whatever happens."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from components.federated import keys, link
from components.federated.superlink import SuperLinkGrid

ROOT = Path(__file__).parents[3]
SECONDS = 240.0
"""The longest that a test waits for what must come to be: a busy machine imports for long."""
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "FLWR_TELEMETRY_ENABLED": "0"}


def until(holds: Callable[[], object], what: str) -> None:
    """Wait until something holds. Raises AssertionError."""
    end, tick = time.monotonic() + SECONDS, threading.Event()
    while not holds():
        assert time.monotonic() < end, f"{what} within {SECONDS:g} s"
        tick.wait(0.02)


class Real:
    """Processes of one federation under `folder`: ``link`` is the link's folder, beside it are the regions' keys, moods and logs."""

    def __init__(self, folder: Path, regions: Sequence[str], hosts: Sequence[str] = ("127.0.0.1",)) -> None:
        self.folder, self.regions = folder, list(regions)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        keys.make_link(folder / "link", hosts)
        for name in regions:
            public = keys.make_region(folder, name)
            shutil.copy(public, folder / "link/regions" / public.name)
            self.mood(name, "")

    @property
    def address(self) -> str:
        return link.address(self.folder / "link")

    def start_link(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Start the link; return where it answers."""
        (self.folder / "link/link.json").unlink(missing_ok=True)
        self.start(
            "link",
            ["-m", "components.federated", "link", str(self.folder / "link"), "--host", host, "--port", str(port)],
        )
        until(lambda: self.address or self._ended("link"), "the link answers")
        assert self.address, self.log("link")
        return self.address

    def start_node(self, name: str) -> None:
        self.start(name, ["-m", "tests.components.federated.region", self.address, str(self.folder), name])

    def start(self, name: str, command: Sequence[str], prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start a Python of ours; what it says goes into NAME.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            started = subprocess.Popen(
                [*prefix, sys.executable, *command], cwd=ROOT, env=_ENVIRONMENT, stdout=log, stderr=log
            )
        self.processes[name] = started
        return started

    def kill(self, name: str) -> None:
        """As kill -9 does."""
        self.processes[name].kill()
        self.processes.pop(name).wait()

    def mood(self, name: str, mood: str) -> None:
        """How a region behaves from now on; see `tests.components.federated.region`."""
        gate = self.folder / f"{name}.gate"
        if mood == "wait" and not gate.exists():
            os.mkfifo(gate)
        (self.folder / f"{name}.mood").write_text(mood)

    def release(self, name: str) -> None:
        """Let a region that waits go on; returns once it does."""
        (self.folder / f"{name}.gate").open("w").close()

    def grid(self, patience: float = SECONDS) -> SuperLinkGrid:
        secret = keys.confidential(self.folder / "link/driver.secret").decode()
        return SuperLinkGrid(self.address, (self.folder / "link/authority.pem").read_bytes(), secret, patience)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def end(self) -> None:
        """End all of them."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()

    def _ended(self, name: str) -> bool:
        return self.processes[name].poll() is not None
