"""One neural forecaster trained over regions, on Flower: the stage."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import torch

from components.federated.configuration import Federation
from components.federated.forecaster import ARCHITECTURE, Forecaster, arrays_of, network_of, put
from components.federated.regions import by_region
from components.federated.rounds import Result
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import export, graph, search, training, windows
from fleetml.learn.neural import Network
from fleetml.learn.training import Examples, Recipe
from fleetml.learn.windows import Meta, Windows

log = logging.getLogger(__name__)


def federated(
    train: Artifact,
    val: Artifact,
    data: Artifact,
    model: Artifact,
    central_model: Artifact,
    metrics: Artifact,
    rounds: int = 8,
    local_epochs: int = 1,
    clients: int = 3,
    seed: int = 0,
) -> None:
    """Write the federated and the central model; what leaves a region is its weights and its number of windows.

    Raises InvalidParameter, InvalidData, Unavailable.
    """
    if clients < 1:
        raise InvalidParameter(f"clients must be at least 1, got {clients}; give a positive number")
    federation = Federation(rounds=rounds, local_epochs=local_epochs, seed=seed)
    torch.set_num_threads(1)
    learnt, judged = windows.load(train.path), search.require_scored(windows.load(val.path), "val")
    regions = by_region(search.require_scored(learnt, "train"), data.path, clients)
    began = time.monotonic()
    result = simulated(regions, by_region_of(judged, regions), federation)
    taken = time.monotonic() - began
    together = network_of(learnt.meta, seed)
    put(together, result.arrays)
    alone = network_of(learnt.meta, seed)
    training.fit(alone, Examples.of(learnt), Examples.of(judged), Recipe(epochs=rounds * local_epochs), seed)
    mase = _publish(together, learnt.meta, judged, model, rounds=len(result.history), regions=sorted(regions))
    central = _publish(alone, learnt.meta, judged, central_model, rounds=0, regions=[])
    metrics.log(
        regions=len(regions),
        validation_mase=round(mase, 4),
        central_mase=round(central, 4),
        rounds=rounds,
        seconds=round(taken, 1),
    )


def by_region_of(windows: Windows, regions: Mapping[str, Windows]) -> dict[str, Windows]:
    """Return other windows of the same VMs, by region."""
    import numpy as np

    return {name: windows[np.isin(windows.vm_id, np.unique(part.vm_id))] for name, part in regions.items()}


def simulated(
    regions: Mapping[str, Windows], held_out: Mapping[str, Windows], federation: Federation, workers: int = 2
) -> Result:
    """Return what regions train together in processes of this machine."""
    from components.federated import rounds, strategies
    from components.federated.app import REGION, client_app
    from components.federated.simulation import Simulation

    learners = {name: Forecaster(part, held_out[name]) for name, part in regions.items()}
    meta = next(iter(regions.values())).meta
    initial = arrays_of(network_of(meta, federation.seed))
    app = client_app(lambda context: learners[str(context.node_config[REGION])])
    with Simulation(app, sorted(regions), workers) as grid:
        return rounds.train(grid, strategies.of(federation), federation, initial)


def _publish(network: Network, meta: Meta, val: Windows, model: Artifact, **known: object) -> float:
    made = export.from_torch(network, meta, {"width": ARCHITECTURE.width, "depth": ARCHITECTURE.depth, **known})
    export.check_equal(made, val, training.predict(network, val))
    score = search.judge(made, val).validation_mase
    graph.publish(made, model, validation_mase=score)
    return score
