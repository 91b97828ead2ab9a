"""Plain Flower beside federated_real: SuperLink, SuperNodes and ``flwr run`` over TLS, on the same windows, with the same learner and passes.

Its own processes, as its documentation starts them; the app is benchmarks/peers/federated_flower.py.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.federated_real import Figure, until
from components.federated import keys

LONGEST = 600.0
"""Seconds that its rounds may take together."""
ROOT, PROGRAMS, HOST = Path(__file__).parents[1], Path(sys.executable).parent, "127.0.0.1"
APP = """[project]
name = "plain"
version = "1.0.0"
description = "our learner in plain Flower"
license = "Apache-2.0"
dependencies = []
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.hatch.build.targets.wheel]
packages = ["."]
[tool.flwr.app]
publisher = "fleetml"
[tool.flwr.app.components]
serverapp = "plain.server:app"
clientapp = "plain.client:app"
[tool.flwr.app.config]
"""
PART = "from benchmarks.peers import federated_flower\n\napp = federated_flower.{part}()\n"
SUPERLINK = """[superlink]
default = "here"
[superlink.here]
address = "{address}"
root-certificates = "{authority}"
"""


def measured(windows: Mapping[str, Path], rounds: int, ours: Mapping[str, Any]) -> Iterator[Figure]:
    """Run the rounds on each region's folder of windows, then yield their figures; `ours`: the model to compare theirs with."""
    name = f"{len(windows)} regions, plain Flower"
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        plain = Plain(ends, folder)
        with suppress(TimeoutError):  # what did not start answered no round
            plain.start(windows)
            plain.run({"folder": str(folder), "root": os.getpid(), "nodes": len(windows), "rounds": rounds})
        told = [json.loads(line) for line in (folder / "rounds").read_text().splitlines()]
        yield f"{name}: rounds of {rounds} that all answered, in {LONGEST:g} s", len(told), ""
        if told:
            yield f"{name}: a round, median", float(np.median([each["seconds"] for each in told])), "s"
            yield f"{name}: a round, least", min(each["seconds"] for each in told), "s"
            yield f"{name}: CPU for a round", float(np.mean([each["cpu"] for each in told])), "s"
        if (folder / "arrays.npz").exists():
            theirs = np.load(folder / "arrays.npz")
            apart = max(float(np.abs(theirs[each] - values).max()) for each, values in ours.items())
            yield f"{name}: a weight's difference, most", 1e6 * apart, "1e-6"


class Plain:
    """A SuperLink and its SuperNodes; `ends` ends them."""

    def __init__(self, ends: ExitStack, folder: Path) -> None:
        self._ends, self._folder, self._port = ends, folder, free()
        keys.make_link(folder / "keys", [HOST])
        (folder / "rounds").touch()
        self._environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "FLWR_HOME": str(folder / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        }

    def start(self, windows: Mapping[str, Path]) -> None:
        """Start all of them. Raises TimeoutError."""
        offline = "--disable-runtime-dependency-installation"
        self._start("superlink", "--port", str(self._port), offline)
        until(lambda: self._said("superlink", "Uvicorn running"))
        for name, folder in windows.items():
            link = ["--superlink", f"{HOST}:{self._port}", "--root-certificates", str(self._keys(keys.AUTHORITY))]
            config = f'region="{name}" windows="{folder}"'
            self._start("supernode", *link, "--port", str(free()), "--node-config", config, log=name)
        # What runs a message's process is the last that a SuperNode starts
        until(lambda: all(self._said(name, "Starting Flower SuperExec") for name in windows))
        until(lambda: self._said("superlink", "Activated node_id", len(windows)))

    def run(self, config: Mapping[str, str | int]) -> None:
        """Run the app, as far as it gets in its time."""
        app, home = self._folder / "app", self._folder / "home"
        (app / "plain").mkdir(parents=True)
        (app / "pyproject.toml").write_text(APP + "".join(f"{key} = {json.dumps(config[key])}\n" for key in config))
        (app / "plain/__init__.py").touch()
        for part in ("client", "server"):
            (app / f"plain/{part}.py").write_text(PART.format(part=part))
        home.mkdir(exist_ok=True)
        at = {"address": f"{HOST}:{self._port}", "authority": self._keys(keys.AUTHORITY)}
        (home / "config.toml").write_text(SUPERLINK.format(**at))
        command = [str(PROGRAMS / "flwr"), "run", str(app), "here", "--stream"]
        with (self._folder / "run").open("wb") as log, suppress(subprocess.TimeoutExpired):
            subprocess.run(command, env=self._environment, stdout=log, stderr=log, timeout=LONGEST)

    def _start(self, program: str, *words: str, log: str = "superlink") -> None:
        tls = {"certfile": keys.CERTIFICATE, "keyfile": keys.PRIVATE, "ca-certfile": keys.AUTHORITY}
        given = [word for key, name in tls.items() for word in (f"--ssl-{key}", str(self._keys(name)))]
        command = [str(PROGRAMS / f"flower-{program}"), "--host", HOST, *given, *words]
        with (self._folder / log).open("wb") as file:
            process = psutil.Popen(command, env=self._environment, stdout=file, stderr=file)
        self._ends.callback(end, process)

    def _said(self, log: str, what: str, times: int = 1) -> bool:
        return (self._folder / log).read_text(errors="replace").count(what) >= times

    def _keys(self, name: str) -> Path:
        return self._folder / "keys" / name


def end(process: psutil.Popen) -> None:
    """End a process and all that it started."""
    with suppress(psutil.NoSuchProcess):
        tree = [process, *process.children(recursive=True)]
        for each in tree:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(tree, timeout=30)


def free() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        return int(listening.getsockname()[1])
