"""Federated rounds: error beside central and local-only training, what the rounds add to central training, 100 clients, bytes.

``MINUTES=20 python -m benchmarks federated``: MINUTES bounds the time (default 40); what is done is kept in results/federated.jsonl.
Data: benchmarks.federated_data. Equal passes: R rounds of one local pass beside R epochs of central training and of each region alone.
error: MASE (heart: 1 - accuracy) on each region's test, the mean over regions by their training examples and over regions alike; the
test decides nothing. overhead: CPU seconds and wall time of a whole process, imports and data included, over those of the central
training of the same learner with as many passes; bitbrains, ten regions, the defaults of `Federation` but personalisation, by one worker
and by two, without and with secure aggregation.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks import cells
from benchmarks.cells import Cell
from benchmarks.goals import Figure, judged

NAME = "federated"
SEEDS = (0, 1, 2)
ROUNDS = {"bitbrains": 10, "azure": 10, "heart": 50}
STRATEGIES = ("fedavg", "fedprox", "fedadam", "fedyogi", "trimmed_mean")
_OPTIONS: Mapping[str, Mapping[str, float]] = {
    "fedprox": {"proximal_mu": 0.01},
    "trimmed_mean": {"trim": 0.25, "min_clients": 4},  # heart has four regions
}
OVERHEAD: Mapping[str, Mapping[str, Any]] = {
    "1": {"workers": 1},
    "2": {"workers": 2},
    "1 secure": {"workers": 1, "secure": True, "min_clients": 3},
    "2 secure": {"workers": 2, "secure": True, "min_clients": 3},
}
GOALS = {
    "overhead: CPU seconds over central, one worker": 10.0,
    "overhead: wall over central, one worker": 10.0,
    "overhead: CPU seconds over central, one worker, secure": 20.0,
    "overhead: wall over central, one worker, secure": 20.0,
}


def error(data: str, strategy: str, seed: int) -> dict[str, float]:
    """Return errors on the regions' tests by what the model was trained on, and the bytes of a round."""
    from benchmarks.federated_data import DATA
    from components.federated.learner import Task

    clients, every, initial = DATA[data](seed)
    rounds = ROUNDS[data]
    first = strategy == STRATEGIES[0]
    result = _rounds(
        clients, initial, strategy=strategy, rounds=rounds, seed=seed, compare_own=first, **_OPTIONS.get(strategy, {})
    )
    found = {name: dict(each) for name, each in result.errors.items()}
    if first:
        central, _ = every.fit(initial, Task(epochs=rounds, seed=seed))
        for name, client in clients.items():
            found[name]["central"] = client.judge(central)
    told: dict[str, float] = {}
    for what in [name for name in next(iter(found.values())) if name != "weight"]:
        values = [each[what] for each in found.values()]
        told[f"{what}, by examples"] = round(
            float(np.average(values, weights=[e["weight"] for e in found.values()])), 4
        )
        told[f"{what}, regions alike"] = round(float(np.mean(values)), 4)
        told[f"{what}, worst region"] = round(max(values), 4)
    last = result.history[-1]
    return {**told, "bytes of a round": float(last.sent_bytes + last.received_bytes)}


def spent(how: str, workers: int = 1, regions: int = 10, **chosen: Any) -> dict[str, float]:
    """Return what this process and its children used, all in all, for central or federated training."""
    from benchmarks.federated_data import bitbrains
    from components.federated.learner import Task

    clients, every, initial = bitbrains(0, regions)
    rounds = ROUNDS["bitbrains"]
    if how == "central":
        arrays = initial
        for number in range(1, rounds + 1):  # judged before each epoch, as the regions do
            every.judge(arrays)
            arrays, _ = every.fit(arrays, Task(epochs=1, number=number, rounds=rounds))
        every.judge(arrays)
    else:
        result = _rounds(clients, initial, workers=workers, rounds=rounds, personal_epochs=0, **chosen)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    told = {
        "cpu": round(sum(it.ru_utime + it.ru_stime for it in usage), 2),
        "memory_mb": max(it.ru_maxrss for it in usage) / 1024,
    }
    if how != "central":
        told["answered"] = float(min(len(each.answered) for each in result.history))
    return told


def _rounds(clients, initial, workers=1, **chosen):  # type: ignore[no-untyped-def]
    from components.federated import rounds, strategies
    from components.federated.app import REGION, client_app
    from components.federated.configuration import Federation
    from components.federated.simulation import Simulation

    federation = Federation(**chosen)
    app = client_app(lambda context: clients[context.node_config[REGION]])
    with Simulation(app, sorted(clients), workers) as grid:
        return rounds.train(grid, strategies.of(federation), federation, initial)


def _wanted() -> list[Cell]:
    overhead = [Cell(NAME, "overhead", how, 0, seed, 120.0) for seed in SEEDS for how in ("central", *OVERHEAD)]
    many = [Cell(NAME, "clients", "100", 0, 0, 200.0)]
    errors = [Cell(NAME, it, data, 0, seed, 200.0) for it in STRATEGIES for seed in SEEDS for data in ROUNDS]
    # What is not repeated with other seeds in the time there is are the strategies on the larger data
    return [*overhead, *many, *sorted(errors, key=lambda it: (it.system != STRATEGIES[0], it.data != "heart"))]


def _computed(cell: Cell) -> dict[str, float]:
    if cell.system == "overhead":
        return spent("central") if cell.data == "central" else spent("federated", **OVERHEAD[cell.data])
    if cell.system == "clients":
        return spent("federated", 2, int(cell.data))
    return error(cell.data, cell.system, cell.seed)


def run() -> Iterator[Figure]:
    """Compute what is missing, then yield the figures, medians and means over seeds."""
    minutes = float(os.environ.get("MINUTES", "40"))
    lanes = int(os.environ.get("LANES", "1"))
    command = [sys.executable, "-m", "benchmarks.federated"]
    print(f"{NAME}: {cells.run(_wanted(), lambda cell: [*command, cell.text], NAME, minutes, lanes)}", flush=True)
    lines = {cell: line for cell, line in cells.latest(NAME).items() if "failed" not in line["figures"]}
    # What the whole process took, from the first import on
    done = {cell: {**line["figures"], "wall": line["seconds"]} for cell, line in lines.items()}
    yield from judged(_overhead(done), GOALS)
    for cell, figures in done.items():
        if cell.system == "clients":
            for name, value in figures.items():
                yield f"{cell.data} clients, two workers: {name}", value, ""
    for data in ROUNDS:
        for strategy in STRATEGIES:
            found = [done[each] for each in done if (each.system, each.data) == (strategy, data)]
            for name in [name for name in found[0] if name != "wall"] if found else ():
                values = [line[name] for line in found]
                unit = f"{len(values)} seeds, from {min(values):g} to {max(values):g}"
                yield f"{data}, {strategy}: {name}", float(np.mean(values)), unit


def _overhead(done: Mapping[Cell, Mapping[str, float]]) -> Iterator[Figure]:
    def median(how: str, what: str) -> float:
        values = [each[what] for cell, each in done.items() if (cell.system, cell.data) == ("overhead", how)]
        return float(np.median(values)) if values else float("nan")

    central = {what: median("central", what) for what in ("cpu", "wall")}
    yield "overhead: CPU seconds of central training", central["cpu"], "s"
    for how, chosen in OVERHEAD.items():
        named = f"{'two workers' if chosen['workers'] == 2 else 'one worker'}{', secure' * bool(chosen.get('secure'))}"
        for what, name in (("cpu", "CPU seconds"), ("wall", "wall")):
            yield f"overhead: {name} over central, {named}", 100 * (median(how, what) / central[what] - 1), "%"


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(json.dumps(_computed(Cell.of(sys.argv[1]))))
