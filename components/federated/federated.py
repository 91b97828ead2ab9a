"""Federated averaging of one neural forecaster over regions, on Flower."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import torch

from components.federated.regions import by_region
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import export, graph, search, training, windows
from fleetml.learn.architectures import Architecture
from fleetml.learn.neural import Network
from fleetml.learn.training import Examples, Recipe
from fleetml.learn.windows import Meta, Windows

log = logging.getLogger(__name__)

ARCHITECTURE = Architecture(family="mlp", width=64, depth=2)


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

    Thin: plain FedAvg, every client in every round, no privacy beyond that. Raises InvalidParameter, InvalidData.
    """
    for name, value in (("rounds", rounds), ("local_epochs", local_epochs), ("clients", clients)):
        if value < 1:
            raise InvalidParameter(f"{name} must be at least 1, got {value}; give a positive number")
    torch.set_num_threads(1)
    learnt, judged = windows.load(train.path), search.require_scored(windows.load(val.path), "val")
    regions = by_region(search.require_scored(learnt, "train"), data.path, clients)
    began = time.monotonic()
    together = average(regions, judged, rounds, local_epochs, seed)
    taken = time.monotonic() - began
    alone = _network(learnt.meta, seed)
    training.fit(alone, Examples.of(learnt), Examples.of(judged), Recipe(epochs=rounds * local_epochs), seed)
    mase = _publish(together, learnt.meta, judged, model, rounds=rounds, regions=sorted(regions))
    central = _publish(alone, learnt.meta, judged, central_model, rounds=0, regions=[])
    metrics.log(
        regions=len(regions),
        validation_mase=round(mase, 4),
        central_mase=round(central, 4),
        rounds=rounds,
        seconds=round(taken, 1),
    )


def average(regions: Mapping[str, Windows], val: Windows, rounds: int, local_epochs: int, seed: int) -> Network:
    """Return the network after `rounds` of FedAvg (McMahan et al. 2017), weights averaged by number of windows."""
    from flwr.app import ArrayRecord, MetricRecord
    from flwr.serverapp.strategy import FedAvg

    from components.federated.grid import InProcessGrid

    network = _network(val.meta, seed)
    judged = Examples.of(val)

    def judge(number: int, arrays: ArrayRecord) -> MetricRecord:
        network.load_state_dict(arrays.to_torch_state_dict())
        score = training.validate(network, judged)
        log.info("round %d of %d: validation MASE %.4f", number, rounds, score)
        return MetricRecord({"validation_mase": score})

    apps = {name: _client(local, local_epochs, seed) for name, local in regions.items()}
    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=len(apps), min_train_nodes=len(apps))
    result = strategy.start(
        grid=InProcessGrid(apps),
        initial_arrays=ArrayRecord(network.state_dict()),
        num_rounds=rounds,
        evaluate_fn=judge,
    )
    network.load_state_dict(result.arrays.to_torch_state_dict())
    return network


def _client(local: Windows, epochs: int, seed: int):  # type: ignore[no-untyped-def]
    """Return the app of one region: it trains what it is sent on its own windows."""
    from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    app = ClientApp()
    examples = Examples.of(local)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        network = _network(local.meta, seed)
        network.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        training.fit(network, examples, examples, Recipe(epochs=epochs), seed)
        content: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {
            "arrays": ArrayRecord(network.state_dict()),
            "metrics": MetricRecord({"num-examples": len(examples.scale)}),
        }
        return Message(RecordDict(content), reply_to=message)

    return app


def _network(meta: Meta, seed: int) -> Network:
    torch.manual_seed(seed)
    return Network(meta, ARCHITECTURE)


def _publish(network: Network, meta: Meta, val: Windows, model: Artifact, **known: object) -> float:
    made = export.from_torch(network, meta, {"width": ARCHITECTURE.width, "depth": ARCHITECTURE.depth, **known})
    export.check_equal(made, val, training.predict(network, val))
    score = search.judge(made, val).validation_mase
    graph.publish(made, model, validation_mase=score)
    return score
