"""One network of given shape, trained in this process or as one of several (``python -m fleetml.learn.network_training JOB``)."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fleetml.errors import FleetMLError, InvalidParameter
from fleetml.learn import distributed, export, search, training, windows
from fleetml.learn.architectures import FAMILIES, architecture
from fleetml.learn.distributed import ALONE, Checkpoint, World
from fleetml.learn.neural import Network
from fleetml.learn.search_space import Hyperparameters, defaults

MODULE = "fleetml.learn.network_training"
_FORMAT = 2  # of the checkpoint's state: one of another is another training's


@dataclass(frozen=True)
class Job:
    """What is trained on what: files of windows, a family of `architectures.FAMILIES`, its hyperparameters, the recipe's epochs.

    `checkpoint` is a file ("": none is kept), `graph` the file that the trained network is written to.
    """

    train: str
    val: str
    family: str
    hyperparameters: Hyperparameters
    epochs: int
    batch_size: int
    seed: int
    checkpoint: str
    graph: str

    def about(self) -> str:
        """Return what another training differs in: all but the places of files, with the digests of the data."""
        data = [hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] for file in (self.train, self.val)]
        known = {
            key: value for key, value in asdict(self).items() if key not in ("train", "val", "checkpoint", "graph")
        }
        return json.dumps({**known, "data": data, "format": _FORMAT}, sort_keys=True)


def complete(family: str, given: dict[str, Any]) -> Hyperparameters:
    """Return the hyperparameters of a family, defaults where none is given. Raises InvalidParameter."""
    if family not in FAMILIES:
        raise InvalidParameter(f"parameter 'family' must be one of {', '.join(FAMILIES)}, got {family!r}; choose one")
    space = FAMILIES[family]
    for name, value in given.items():
        if name not in space:
            raise InvalidParameter(f"hyperparameters of {family} are {', '.join(space)}, got {name!r}; remove it")
        known = space[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not known.low <= value <= known.high:
            raise InvalidParameter(
                f"hyperparameter {name} of {family} lies from {known.low} to {known.high}, got {value!r}; correct it"
            )
    return {**defaults(space), **given}


def run(job: Job, world: World = ALONE) -> float:
    """Train, from the checkpoint where there is one; the first process writes the graph. Return the validation MASE."""
    torch.set_num_threads(1)
    train, val = (windows.load(Path(file)) for file in (job.train, job.val))
    torch.manual_seed(job.seed)
    network = Network(train.meta, architecture(job.family, job.hyperparameters)).to(world.device)
    recipe = training.Recipe(
        learning_rate=float(job.hyperparameters["learning_rate"]),
        weight_decay=float(job.hyperparameters["weight_decay"]),
        batch_size=job.batch_size,
        epochs=job.epochs,
    )
    best = training.fit(
        network,
        training.Examples.of(search.require_scored(train, "train")).to(world.device),
        training.Examples.of(search.require_scored(val, "val")).to(world.device),
        recipe,
        job.seed,
        world=world,
        checkpoint=Checkpoint(Path(job.checkpoint), job.about()) if job.checkpoint else None,
    )
    if world.first:
        network = network.cpu()
        graph = export.from_torch(network, train.meta, job.hyperparameters)
        export.check_equal(graph, val, training.predict(network, val))
        Path(job.graph).write_bytes(graph.SerializeToString())
    return best


def main(argv: Sequence[str]) -> int:
    """Be one of the processes that torchrun starts; return the exit status."""
    job = Job(**json.loads(Path(argv[0]).read_text()))
    try:
        with distributed.joined() as world:
            run(job, world)
    except FleetMLError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - torchrun's output is what `launch` reads
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
