"""A forecasting network of given shape, trained by one process or several, from its checkpoint where there is one."""

import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fleetml.component import Artifact
from fleetml.errors import InvalidParameter

_LARGEST = 64  # processes on one machine


def train_network(
    train: Artifact,
    val: Artifact,
    family: str,
    hyperparameters: dict[str, Any],
    processes: int,
    epochs: int,
    batch_size: int,
    checkpoint_dir: str,
    seed: int,
    model: Artifact,
    metrics: Artifact,
) -> None:
    """Write the graph of the trained network. What is not in `hyperparameters` has its family's default.

    With a `checkpoint_dir` a training that was killed goes on after its last whole epoch, also with another number of
    processes. Raises InvalidParameter, InvalidData for windows that cannot be scored, StepFailed where a process dies.
    """
    from fleetml.learn import conformal, distributed, forecaster, graph, network_training, search, windows

    for name, value, least in (("processes", processes, 1), ("epochs", epochs, 1), ("batch_size", batch_size, 1)):
        if value < least:
            raise InvalidParameter(f"{name} must be at least {least}, got {value}; raise it")
    if processes > _LARGEST:
        raise InvalidParameter(f"processes must be at most {_LARGEST} on one machine, got {processes}; lower it")
    chosen = network_training.complete(family, hyperparameters)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "model.onnx"
        job = network_training.Job(
            str(train.path), str(val.path), family, chosen, epochs, batch_size, seed, "", str(made)
        )
        checkpoint = _checkpoint(checkpoint_dir, job.about())
        job = network_training.Job(**{**asdict(job), "checkpoint": str(checkpoint or "")})
        if processes == 1:
            network_training.run(job)
        else:
            (told := Path(scratch) / "job.json").write_text(json.dumps(asdict(job)))
            distributed.launch(network_training.MODULE, [str(told)], processes)
        trained = graph.load(made)
        held = search.require_scored(windows.load(val.path), "val")
        judged = search.judge(trained, held)
    graph.publish(
        conformal.calibrated(trained, held), model, validation_mase=judged.validation_mase, latency_ms=judged.latency_ms
    )
    if checkpoint:
        checkpoint.unlink(missing_ok=True)  # what is finished is the model; the next training begins anew
    _, p99 = forecaster.latency(model.path, runs=50, warmup=10)
    metrics.log(
        validation_mase=round(judged.validation_mase, 4),
        family=family,
        processes=processes,
        latency_ms_p99=round(p99, 2),
    )


def _checkpoint(folder: str, about: str) -> Path | None:
    """Return the file of this very training in a folder: another one's is never taken for it."""
    if not folder:
        return None
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    return place / f"{hashlib.sha256(about.encode()).hexdigest()[:16]}.pt"
