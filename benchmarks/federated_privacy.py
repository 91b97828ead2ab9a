"""Federated rounds under privacy, secure aggregation and smaller updates: error against epsilon, bytes of a round, CPU seconds.

``MINUTES=20 python -m benchmarks federated_privacy``: MINUTES bounds the time (default 20); what is done is kept in
results/federated_privacy.jsonl. The learner and the data are those of the benchmark `federated` on bitbrains_rnd (149 VMs, CPU), with at
most 4,000 windows to train on and 3,000 to test on: the VMs ranked by their mean load and cut into 10 regions, or into 100 of one or two
VMs each, which is no fleet that has 100 regions but shows what more of them would do (there the ways of privacy alone, each a cell of its own:
26 CPU seconds). 10 rounds, fedavg, every region in every round.
error: MASE on each region's test, the mean over regions alike; "before" is that of the untrained network, which blends naive forecasts.
Privacy: delta 1e-5; what neighbours are stands in docs/federated.md. "clipped" is central privacy with epsilon 10,000: clipping and hardly
any noise. Simulated by one worker; CPU seconds are of the rounds alone, of cores that others used too.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import cells
from benchmarks.cells import Cell
from benchmarks.goals import Figure

NAME = "federated_privacy"
SEEDS = (0, 1, 2)
ROUNDS, WINDOWS, TESTED = 10, 4000, 3000
PRIVATE: Mapping[str, Mapping[str, Any]] = {
    "no privacy": {},
    "clipped": {"privacy": "central", "epsilon": 10_000.0},
    "central, epsilon 512": {"privacy": "central", "epsilon": 512.0},
    "central, epsilon 64": {"privacy": "central", "epsilon": 64.0},
    "central, epsilon 8": {"privacy": "central", "epsilon": 8.0},
    "central, epsilon 8, clip 0.1": {"privacy": "central", "epsilon": 8.0, "clip": 0.1},
    "local, epsilon 8": {"privacy": "local", "epsilon": 8.0},
}
SMALLER: Mapping[str, Mapping[str, Any]] = {
    "secure": {"secure": True, "min_clients": 3},
    "16 bits": {"update_bits": 16},
    "8 bits": {"update_bits": 8},
    "8 bits, the largest tenth": {"update_bits": 8, "update_share": 0.1},
    "32 bits, the largest hundredth": {"update_share": 0.01},
}


WAYS: Mapping[str, Mapping[str, Any]] = {**PRIVATE, **SMALLER}
_ALL = "rounds"
"""Name of the cell that has all ways."""


def compared(regions: int, seed: int, ways: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return figures named ``way: figure`` of each way to run the same rounds."""
    clients, initial = _clients(regions, seed)
    found = {"before: error": float(np.mean([client.judge(initial) for client in clients.values()]))}
    for name, chosen in ways.items():
        equal = {"weights": "equal"} if "privacy" in chosen else {}
        began = _cpu()
        result = _rounds(clients, initial, seed=seed, **chosen, **equal)
        last = result.history[-1]
        found |= {
            f"{name}: error": float(np.mean([each["common"] for each in result.errors.values()])),
            f"{name}: bytes to regions": float(last.sent_bytes),
            f"{name}: bytes from regions": float(last.received_bytes),
            f"{name}: CPU seconds": _cpu() - began,
        }
    return {name: round(value, 4) for name, value in found.items()}


def _clients(regions: int, seed: int) -> tuple[dict[str, Any], Any]:
    from benchmarks import federated_data, transfer
    from components.federated.forecaster import Forecaster, arrays_of, network_of
    from components.federated.regions import like, ranked

    group = transfer.cores()
    every = replace(group, fleet=np.concatenate([group.fleet, group.held]))
    train, test = federated_data._parts(every, seed, WINDOWS)
    test = test[np.sort(np.random.default_rng(seed).permutation(len(test))[:TESTED])]
    region = ranked(train, regions)
    names = np.array([region[str(vm)] for vm in train.vm_id])
    own = {str(name): train[names == name] for name in np.unique(names)}
    tested = like(own, test)
    clients = {name: Forecaster(part, tested[name]) for name, part in own.items() if len(tested[name].scale)}
    return clients, arrays_of(network_of(train.meta, seed))


def _rounds(clients: Mapping[str, Any], initial: Any, **chosen: Any) -> Any:
    from components.federated import protection, rounds
    from components.federated.app import REGION, client_app
    from components.federated.configuration import Federation
    from components.federated.simulation import Simulation

    federation = Federation(rounds=ROUNDS, personal_epochs=0, **chosen)
    protected = protection.Protection(federation, seeded=True)
    app = client_app(lambda context: clients[str(context.node_config[REGION])], protection.MODS)
    with Simulation(app, sorted(clients), 1) as grid:
        return rounds.train(grid, protected.strategy, federation, initial, channel=protected.channel)


def _cpu() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(it.ru_utime + it.ru_stime for it in usage)


def run() -> Iterator[Figure]:
    """Compute what is missing, then yield the figures, means over seeds."""
    minutes = float(os.environ.get("MINUTES", "20"))
    lanes = int(os.environ.get("LANES", "1"))
    wanted = [
        *(Cell(NAME, way, "100", 0, seed, 200.0) for seed in SEEDS[:1] for way in PRIVATE),
        *(Cell(NAME, _ALL, "10", 0, seed, 400.0) for seed in SEEDS),
        *(Cell(NAME, way, "100", 0, seed, 200.0) for seed in SEEDS[1:] for way in PRIVATE),
    ]
    command = [sys.executable, "-m", f"benchmarks.{NAME}"]
    print(f"{NAME}: {cells.run(wanted, lambda cell: [*command, cell.text], NAME, minutes, lanes)}", flush=True)
    found: dict[str, list[float]] = defaultdict(list)
    for cell, line in cells.latest(NAME).items():
        for name, value in line["figures"].items() if "failed" not in line["figures"] else ():
            found[f"{cell.data} regions, {name}"].append(value)
    for name, values in sorted(found.items()):
        yield name, float(np.mean(values)), f"{len(values)} seeds, from {min(values):g} to {max(values):g}"


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    cell = Cell.of(sys.argv[1])
    ways = WAYS if cell.system == _ALL else {cell.system: WAYS[cell.system]}
    print(json.dumps(compared(int(cell.data), cell.seed, ways)))
