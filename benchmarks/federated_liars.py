"""Federated rounds with regions that lie: the error of the mean beside that of robust aggregation.

``MINUTES=20 python -m benchmarks federated_liars``: MINUTES bounds the time (default 20); what is done is kept in
results/federated_liars.jsonl. Data, learner and rounds are those of the benchmark `federated_privacy` (bitbrains_rnd, 10 regions from idle to
busy, 4,000 windows, 10 rounds). Two regions, drawn by the seed, send in place of what training changed its opposite ("flipped"), or ten times
that ("flipped tenfold"); what they judge is honest. trimmed_mean cuts two of ten off on either side, krum is told of two liars.
error: MASE on each region's test, those of the liars too, the mean over regions alike; "before" is that of the untrained network.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks import cells
from benchmarks.cells import Cell
from benchmarks.goals import Figure
from components.federated.learner import Arrays, Learner, Task

NAME = "federated_liars"
SEEDS = (0, 1)
REGIONS, LIARS = 10, 2
LIES = {"honest": 1.0, "flipped": -1.0, "flipped tenfold": -10.0}
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "fedavg": {},
    "trimmed_mean": {"trim": LIARS / REGIONS, "min_clients": REGIONS},
    "krum": {"malicious": LIARS, "min_clients": REGIONS},
}


class Liar:
    """A region that sends `factor` times what training changed."""

    def __init__(self, learner: Learner, factor: float) -> None:
        self._learner, self._factor = learner, factor

    @property
    def examples(self) -> int:
        return self._learner.examples

    def judge(self, arrays: Arrays) -> float:
        return self._learner.judge(arrays)

    def fit(self, arrays: Arrays, task: Task) -> tuple[Arrays, float]:
        fitted, loss = self._learner.fit(arrays, task)
        return {name: arrays[name] + self._factor * (each - arrays[name]) for name, each in fitted.items()}, loss


def error(strategy: str, lie: str, seed: int) -> dict[str, float]:
    """Return the errors before and after the rounds, and that of the worst region."""
    from benchmarks.federated_privacy import _clients, _rounds

    clients, initial = _clients(REGIONS, seed)
    for name in np.random.default_rng(seed).choice(sorted(clients), LIARS, replace=False):
        clients[str(name)] = Liar(clients[str(name)], LIES[lie])
    before = float(np.mean([client.judge(initial) for client in clients.values()]))
    result = _rounds(clients, initial, seed=seed, strategy=strategy, **STRATEGIES[strategy])
    errors = [each["common"] for each in result.errors.values()]
    told = {"before": before, "error": float(np.mean(errors)), "worst region": max(errors)}
    return {name: round(value, 4) for name, value in told.items()}


def run() -> Iterator[Figure]:
    """Compute what is missing, then yield the figures, means over seeds."""
    minutes = float(os.environ.get("MINUTES", "20"))
    wanted = [Cell(NAME, each, lie, 0, seed, 180.0) for seed in SEEDS for each in STRATEGIES for lie in LIES]
    command = [sys.executable, "-m", f"benchmarks.{NAME}"]
    print(f"{NAME}: {cells.run(wanted, lambda cell: [*command, cell.text], NAME, minutes, 1)}", flush=True)
    found: dict[str, list[float]] = defaultdict(list)
    for cell, line in cells.latest(NAME).items():
        for name, value in line["figures"].items() if "failed" not in line["figures"] else ():
            found[f"{cell.system}, {cell.data}: {name}"].append(value)
    for name, values in found.items():
        yield name, float(np.mean(values)), f"{len(values)} seeds, from {min(values):g} to {max(values):g}"


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    asked = Cell.of(sys.argv[1])
    print(json.dumps(error(asked.system, asked.data, asked.seed)))
