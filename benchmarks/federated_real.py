"""Rounds over a real link and region nodes: each a process of this machine, TLS and keys as an operator has them.

``REGIONS="4 10" python -m benchmarks federated_real``. Each region has 400 synthetic windows (288 steps before, 48 after) and trains the
forecaster of the stage, one pass a round; 5 rounds. Processes share this machine's cores, so wall seconds are those of a busy one and CPU
seconds are told beside them: of the link, of the nodes after their start, and of the same training in one process, on all windows, with as
many passes and judgements. With ``FLOWER`` regions ("4") plain Flower does the same beside it: it starts a process of torch for each region.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from components.federated import keys, link
from fleetml.learn.windows import Meta, Windows

ROUNDS, ROWS, LONGEST = 5, 400, 300.0
Figure = tuple[str, float, str]


def windows(seed: int, rows: int) -> Windows:
    """Days of a VM at a level of its own."""
    meta, rng = Meta(), np.random.default_rng(seed)
    time_ = np.arange(meta.context + meta.horizon) + rng.uniform(0, meta.season, rows)[:, None]
    noise = rng.normal(scale=0.1, size=time_.shape)
    values = ((seed + 1) * (2 + np.sin(2 * np.pi * time_ / meta.season) + noise)).astype(np.float32)
    return Windows(
        vm_id=np.full(rows, f"vm{seed}"),
        origin=np.arange(rows).astype("datetime64[us]"),
        history=values[:, : meta.context],
        covariates=np.empty((rows, 0), np.float32),
        target=values[:, meta.context :],
        scale=np.full(rows, seed + 1, np.float32),
        meta=meta,
    )


class Federation:
    """A link and its regions' nodes in a temporary folder."""

    def __init__(self, ends: ExitStack, regions: int) -> None:
        self._ends = ends
        self.folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        self.nodes: dict[str, psutil.Process] = {}
        keys.make_link(self.folder / "link", ["127.0.0.1"])
        for seed in range(regions):
            name = f"region-{seed}"
            shutil.copy(keys.make_region(self.folder, name), self.folder / "link/regions")
            (self.folder / name).mkdir()
            windows(seed, ROWS).save(self.folder / name / "train")
            windows(seed + 1000, ROWS // 4).save(self.folder / name / "val")

    def start(self) -> None:
        """Start all of them."""
        self.link = self._start("link", str(self.folder / "link"), "--port", "0")
        until(lambda: link.address(self.folder / "link"))
        for key in sorted(self.folder.glob("*.key")):
            given = ["--key", str(key), "--authority", str(self.folder / "link/authority.pem")]
            windows_of = ["--windows", str(self.folder / key.stem)]
            self.nodes[key.stem] = self._start("node", link.address(self.folder / "link"), *given, *windows_of)

    def _start(self, *words: str) -> psutil.Process:
        command = [sys.executable, "-m", "components.federated", *words]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        self._ends.callback(process.wait)
        self._ends.callback(process.kill)
        return psutil.Process(process.pid)


def until(holds) -> None:  # type: ignore[no-untyped-def]
    """Wait for something. Raises TimeoutError."""
    end, tick = time.monotonic() + LONGEST, threading.Event()
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing came within {LONGEST:g} s")
        tick.wait(0.02)


def cpu(processes) -> float:  # type: ignore[no-untyped-def]
    """Return the CPU seconds of processes until now."""
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def central(regions: int) -> float:
    """Return the CPU seconds of the same training in one process."""
    from components.federated.forecaster import Forecaster, arrays_of, network_of
    from components.federated.learner import Task

    parts = [windows(seed, ROWS) for seed in range(regions)]
    every = Windows(
        **{
            name: np.concatenate([getattr(each, name) for each in parts])
            for name in ("vm_id", "origin", "history", "covariates", "target", "scale")
        },
        meta=parts[0].meta,
    )
    learner = Forecaster(every, every[: regions * ROWS // 4])
    arrays, began = arrays_of(network_of(every.meta, 0)), time.process_time()
    for number in range(1, ROUNDS + 1):
        learner.judge(arrays)
        arrays, _ = learner.fit(arrays, Task(epochs=1, number=number, rounds=ROUNDS))
    return time.process_time() - began


def measured(regions: int) -> Iterator[Figure]:
    """Run the rounds, then yield their figures."""
    import torch

    from components.federated import configuration as chosen
    from components.federated import rounds, strategies
    from components.federated.forecaster import arrays_of, network_of
    from components.federated.superlink import SuperLinkGrid

    torch.set_num_threads(1)
    name = f"{regions} regions"
    asked = chosen.Federation(rounds=ROUNDS, min_clients=regions, round_seconds=LONGEST, personal_epochs=0)
    with ExitStack() as ends:
        real, began = Federation(ends, regions), time.monotonic()
        real.start()
        place, secret = link.address(real.folder / "link"), keys.confidential(real.folder / "link/driver.secret")
        grid = SuperLinkGrid(place, (real.folder / "link/authority.pem").read_bytes(), secret.decode())
        with grid:
            until(lambda: len(grid.regions()) == regions)
            yield f"{name}: start-up until all nodes are there", time.monotonic() - began, "s"
            before = {"link": cpu([real.link]), "nodes": cpu(real.nodes.values()), "step": time.process_time()}
            result = rounds.train(grid, strategies.of(asked), asked, arrays_of(network_of(Meta(), 0)))
            after = {"link": cpu([real.link]), "nodes": cpu(real.nodes.values()), "step": time.process_time()}
    seconds = [each.seconds for each in result.history]
    yield f"{name}: a round, median", float(np.median(seconds)), "s"
    yield f"{name}: a round, least", min(seconds), "s"
    spent = {who: (after[who] - before[who]) / ROUNDS for who in before}
    for who, value in spent.items():
        yield f"{name}: CPU of the {who} for a round", value, "s"
    alone = central(regions) / ROUNDS
    yield f"{name}: CPU of the same pass centrally", alone, "s"
    yield f"{name}: CPU over central training", 100 * (sum(spent.values()) / alone - 1), "%"
    last = result.history[-1]
    yield f"{name}: records of a round, both ways", (last.sent_bytes + last.received_bytes) / 1000, "kB"
    if str(regions) in os.environ.get("FLOWER", "4").split():
        yield from beside(regions, result.arrays)


def beside(regions: int, arrays: Mapping[str, Any]) -> Iterator[Figure]:
    """Yield the figures of plain Flower on the same windows."""
    from benchmarks import federated_flower

    with ExitStack() as ends:
        folder = Federation(ends, regions).folder
        names = [f"region-{seed}" for seed in range(regions)]
        yield from federated_flower.measured({name: folder / name for name in names}, ROUNDS, arrays)


def run() -> Iterator[Figure]:
    for regions in map(int, os.environ.get("REGIONS", "4 10").split()):
        yield from measured(regions)
