"""Training over several processes: started by torchrun, gradients averaged by DDP, one checkpoint that any number of them reads.

Gloo on CPUs, NCCL where every process has a GPU of its own. Each batch is dealt out among the processes, so that the
gradient is that of the whole batch: n processes train what one would, up to the order of additions.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from fleetml.atomic import aside
from fleetml.errors import InvalidData, StepFailed

SECONDS = 60
"""A process that others wait for longer than this is dead."""
_SHOWN = 1500  # characters of what the processes said last


@dataclass(frozen=True)
class World:
    """The processes of a training: this one's number, how many there are, and where its tensors lie."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Say whether this is the one that writes."""
        return self.rank == 0

    def parallel(self, network: nn.Module) -> nn.Module:
        """Return the network whose gradients are the mean over the processes; they begin with the first one's weights."""
        if self.size == 1:
            return network
        return nn.parallel.DistributedDataParallel(network, device_ids=None)

    def share(self, rows: Tensor) -> tuple[Tensor, float]:
        """Return this process's part of a batch, and by what its sum is to be divided for the mean over the batch.

        One without a part gets a row that counts nothing: every process must take part in every step.
        """
        own = rows[self.rank :: self.size]
        return (own, len(rows) / self.size) if len(own) else (rows[:1], float("inf"))

    def agreed(self, value: float) -> float:
        """Return the first process's value: what hangs on the clock must be decided once."""
        if self.size == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(told, 0)
        return float(told)


ALONE = World()


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the state of a training after an epoch; `about` says of which training."""

    path: Path
    about: str

    def read(self, device: str = "cpu") -> dict[str, Any] | None:
        """Return what `write` left, None where nothing was. Raises InvalidData for another training's, or for no checkpoint."""
        if not self.path.exists():
            return None
        try:
            found = torch.load(self.path, map_location=device, weights_only=True)
            about = found.pop("about")
        except Exception as error:  # torch's reader raises what its parts raise
            raise InvalidData(
                f"{self.path} must be a checkpoint, torch says: {error}; remove it to begin anew"
            ) from error
        if about != self.about:
            raise InvalidData(
                f"a training goes on from its own checkpoint, {self.path} is of {about}, this is {self.about}; name another folder"
            )
        return dict(found)

    def write(self, state: dict[str, Any]) -> None:
        """Keep a state: aside, then renamed."""
        with aside(self.path) as temporary:
            torch.save({**state, "about": self.about}, temporary)


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that torchrun started; alone where it did not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    gpus = torch.cuda.device_count() >= size
    device = f"cuda:{os.environ['LOCAL_RANK']}" if gpus else "cpu"
    distributed.init_process_group("nccl" if gpus else "gloo", timeout=timedelta(seconds=SECONDS))
    try:
        yield World(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()


def launch(module: str, arguments: Sequence[str], processes: int) -> None:
    """Run ``python -m module arguments`` in that many processes on this machine, one thread each.

    Raises StepFailed, with what they said last, where one of them fails: the others are ended then.
    """
    torchrun = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--max-restarts=0")
    command = [sys.executable, *torchrun, "-m", module, *arguments]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment()
    )  # fmt: skip
    if done.returncode != 0:
        told = [line for line in done.stdout.splitlines() if "error:" in line] or [done.stdout[-_SHOWN:]]
        raise StepFailed(
            f"all {processes} processes of a training must end well, one did not (status {done.returncode}): {told[0].strip()}; "
            "the training goes on from its checkpoint when it is run again with the same checkpoint_dir"
        )


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
