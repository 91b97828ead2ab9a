"""Training over several processes: started by torchrun, gradients averaged by DDP, one checkpoint that any number of them reads.

Gloo on CPUs, NCCL where every process has a GPU of its own. Each batch is dealt out among the processes, so that the
gradient is that of the whole batch: n processes train what one would, up to the order of additions.
"""

import os
import re
import signal
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
_MISTAKE = re.compile(r"^error: (.+)$", re.MULTILINE)  # a FleetMLError, as our entry tells it
_DEATH = re.compile(r"rank\s*: (\d+) \(.*\n\s*exitcode\s*: -(\d+) ")  # of torchrun's list of failures
_RAISED = re.compile(r"^(?:\[rank\d+\]: ?)?((?:\w+\.)*\w+(?:Error|Exception): .+)$", re.MULTILINE)


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

    def each(self, own: Tensor) -> list[Tensor]:
        """Return what every process holds, by its number: tensors of one shape, on the CPU."""
        if self.size == 1:
            return [own]
        found = [torch.empty_like(own, device=self.device) for _ in range(self.size)]
        distributed.all_gather(found, own.to(self.device))
        return [one.cpu() for one in found]

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
        raise StepFailed(
            f"all {processes} processes of a training must end well, one did not (status {done.returncode}): {_cause(done.stdout)}; "
            "the training goes on from its checkpoint when it is run again with the same checkpoint_dir"
        )


def _cause(told: str) -> str:
    """Return why a training failed: a user's mistake, the signal that ended a process, what one raised, else what was said last.

    Where one process is killed the others raise that it is gone, and torchrun ends them by SIGTERM: neither is the cause.
    """
    if mistake := _MISTAKE.search(told):
        return mistake.group(1).strip()
    deaths = [(rank, signal.Signals(int(number)).name) for rank, number in _DEATH.findall(told)]
    for rank, name in deaths:
        if name != "SIGTERM":
            return f"process {rank} was ended by {name}" + (
                " (memory that runs out ends so)" if name == "SIGKILL" else ""
            )
    raised = _RAISED.search(told)
    return (raised.group(1) if raised else told[-_SHOWN:]).strip()


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
