"""One neural forecaster trained over regions, on Flower: the stage."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.federated.configuration import Federation
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter

if TYPE_CHECKING:
    from flwr.serverapp import Grid

    from components.federated.rounds import Result
    from fleetml.learn.neural import Network
    from fleetml.learn.windows import Meta, Windows

log = logging.getLogger(__name__)


def federated(
    train: Artifact,
    val: Artifact,
    data: Artifact,
    model: Artifact,
    metrics: Artifact,
    report: Artifact,
    clients: int = 10,
    workers: int = 2,
    checkpoint_dir: str = "",
    compare_central: bool = True,
    superlink: str = "",
    **chosen: Any,
) -> None:
    """Write the graph of the forecaster that the regions train together, its figures, and a page with rounds and fairness.

    `chosen` are fields of `Federation`. The regions are those of `data`, or `clients` groups of VMs where it names none; they are
    simulated in `workers` processes. With a `checkpoint_dir` a run that died goes on after its last whole round.
    `compare_central` trains another of the same shape on all windows, with as many passes, for its error.
    With `superlink`, HOST:PORT of a link, they are the real regions whose nodes it serves, which have data of their own: `data` split
    by region are not used then, `val` judges the final model here, and nothing is trained centrally.
    Raises InvalidParameter, InvalidData, ConfigurationError, Unavailable for too few regions.
    """
    federation = Federation(**chosen)
    _require_positive(clients=clients, workers=workers)
    import torch

    from components.federated import protection, rounds
    from components.federated import report as page
    from components.federated.checkpoint import Checkpoint
    from components.federated.forecaster import arrays_of, network_of, put
    from fleetml.learn import search, windows

    torch.set_num_threads(1)
    learnt = search.require_scored(windows.load(train.path), "train")
    judged = search.require_scored(windows.load(val.path), "val")
    began, network = time.monotonic(), network_of(learnt.meta, federation.seed)
    place = _checkpoint(checkpoint_dir, federation, (train, val, data), [clients, superlink])
    kept, protected = (
        Checkpoint(place, bool(federation.privacy)),
        protection.Protection(federation, seeded=not superlink),
    )
    with _real(superlink) if superlink else _split(learnt, judged, data, clients, workers, federation) as grid:
        before = arrays_of(network)
        result = rounds.train(grid, protected.strategy, federation, before, kept, protected.channel)
    seconds = time.monotonic() - began
    put(network, result.arrays)
    spent = protected.figures(result.ledger)
    mase = _publish(network, learnt.meta, judged, model, federation, result, spent)
    central = _central(learnt, judged, federation) if compare_central and not superlink else math.nan
    page.write(report.path, federation, result, mase, central, protected)
    metrics.log(**_figures(result, mase, central, seconds), **spent)
    kept.remove()


@contextmanager
def _real(superlink: str) -> Iterator[Grid]:
    """Give a grid to the regions of a link. Raises ConfigurationError, Unavailable.

    A step that is stopped is told so by SIGTERM: that ends the run on the link, too, which else takes it for running
    until its heartbeat is missed.
    """
    from components.federated.superlink import SuperLinkGrid

    before = signal.signal(signal.SIGTERM, _stopped)
    try:
        with SuperLinkGrid.of_environment(superlink) as grid:
            yield grid
    finally:
        signal.signal(signal.SIGTERM, before)


def _stopped(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one would cut off what the first has begun
    raise SystemExit(128 + number)


def _split(
    learnt: Windows, judged: Windows, data: Artifact, clients: int, workers: int, federation: Federation
) -> AbstractContextManager[Grid]:
    """Return a grid to the regions of the data. Raises InvalidData, InvalidParameter for fewer than a round needs."""
    from components.federated.regions import by_region, like

    regions = by_region(learnt, data.path, clients)
    if len(regions) < federation.min_clients:
        raise InvalidParameter(
            f"min_clients must be at most the number of regions, {len(regions)}, got {federation.min_clients}; lower it"
        )
    return simulated(regions, like(regions, judged), workers)


def simulated(
    regions: Mapping[str, Windows], held_out: Mapping[str, Windows], workers: int = 2
) -> AbstractContextManager[Grid]:
    """Return a grid whose nodes are these regions, in processes of this machine, each judging by its own `held_out`."""
    from components.federated.app import REGION, client_app
    from components.federated.forecaster import Forecaster
    from components.federated.protection import MODS
    from components.federated.simulation import Simulation

    learners = {name: Forecaster(part, held_out[name]) for name, part in regions.items()}
    app = client_app(lambda context: learners[str(context.node_config[REGION])], MODS)
    return Simulation(app, sorted(regions), workers)


def _require_positive(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise InvalidParameter(f"{name} must be at least 1, got {value}; give a positive number")


def _checkpoint(folder: str, federation: Federation, inputs: tuple[Artifact, ...], where: list[Any]) -> Path | None:
    """Return the file of this very run in a folder: one of other data or choices is never taken for it."""
    if not folder:
        return None
    digest = hashlib.sha256(json.dumps([asdict(federation), *where], sort_keys=True).encode())
    for each in inputs:
        with each.path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    return place / f"federated-{digest.hexdigest()[:16]}.npz"


def _publish(
    network: Network,
    meta: Meta,
    val: Windows,
    model: Artifact,
    federation: Federation,
    result: Result,
    spent: Mapping[str, Any],
) -> float:
    from components.federated.forecaster import ARCHITECTURE
    from fleetml.learn import conformal, export, graph, search, training

    known = {
        "rounds": len(result.history),
        "regions": sorted(result.errors),
        "strategy": federation.strategy,
        "width": ARCHITECTURE.width,
        "depth": ARCHITECTURE.depth,
        **spent,
    }
    made = export.from_torch(network, meta, known)
    export.check_equal(made, val, training.predict(network, val))
    score = search.judge(made, val).validation_mase
    graph.publish(conformal.calibrated(made, val), model, validation_mase=score)
    return score


def _central(learnt: Windows, judged: Windows, federation: Federation) -> float:
    from components.federated.forecaster import network_of
    from fleetml.learn import training
    from fleetml.learn.training import Examples, Recipe

    alone = network_of(learnt.meta, federation.seed)
    recipe = Recipe(epochs=federation.rounds * federation.local_epochs)
    return training.fit(alone, Examples.of(learnt), Examples.of(judged), recipe, federation.seed)


def _figures(result: Result, mase: float, central: float, seconds: float) -> dict[str, Any]:
    """Return the figures of a run; what was not measured is left out, as JSON has no NaN."""
    history = result.history
    told: dict[str, Any] = {"validation_mase": mase, "central_mase": central}
    for what in ("common", "personal", "own"):
        values = [each[what] for each in result.errors.values() if math.isfinite(each.get(what, math.nan))]
        told |= {f"{what}_mase_worst": max(values), f"{what}_mase_spread": float(np.std(values))} if values else {}
    figures = {name: round(value, 4) for name, value in told.items() if math.isfinite(value)}
    return {
        **figures,
        "rounds": len(history),
        "ended": result.ended,
        "regions": len(result.errors),
        "left_out": sum(len(each.left_out) for each in history),
        "bytes_per_round": round(sum(it.sent_bytes + it.received_bytes for it in history) / max(len(history), 1)),
        "seconds": round(seconds, 1),
    }
