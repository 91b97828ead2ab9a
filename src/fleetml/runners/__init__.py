"""Runners: a resolved command in, the true exit status out.

A runner is a value with one method; each lives in one file and passes ``tests/conformance/test_runners.py``.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from fleetml.errors import InvalidPipeline
from fleetml.frozen import field, frozen
from fleetml.images import Image
from fleetml.pipeline.model import Resources

__all__ = ["EVERYWHERE", "Command", "ContainerRunner", "Ended", "Exit", "Limits", "Runner", "Usage"]


Ended = Literal["itself", "cancelled", "timeout", "memory"]


@frozen
class Limits:
    """What a command may use at most; None: no limit. `cpus` in cores, `memory` in bytes, `seconds` of wall time."""

    cpus: float | None = None
    memory: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, cpu: str, memory: str, place: str) -> Limits:
        """Return the limits of Kubernetes quantities ("500m", "2", "1.5Gi", "" for none).

        Raises InvalidPipeline naming `place` for what is no quantity.
        """
        return cls(_quantity(cpu, place), int(found) if (found := _quantity(memory, place)) is not None else None)


# Suffixes of https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_SUFFIXES = {
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def _quantity(text: str, place: str) -> float | None:
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]{0,2})", text)
    suffix = {"K": "k"}.get(found[2], found[2]) if found else ""
    if found is None or suffix not in _SUFFIXES:
        raise InvalidPipeline(f"{place}: a limit is a number with a suffix such as 500m or 2Gi, got {text!r}; mend it")
    return float(found[1]) * _SUFFIXES[suffix]


@frozen
class Command:
    """A command ready to run: nothing in it is left to resolve.

    `image` says in which environment; `env` holds only what the step declares, the runner adds the rest.
    `own_entry`: `argv` are arguments of the image's own entry point, which only a container has.
    `readable` and `writable` are the folders the command needs (a container mounts them at the same path).
    `secrets` are further variables of its environment, never told to anyone.
    `platform` is what the step asks of its cluster, by feature (`fleetml.pipeline.platform`), `resources` what it states
    beside its limits.
    """

    argv: tuple[str, ...]
    image: Image
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    own_entry: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    platform: Mapping[str, Any] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)


@frozen
class Usage:
    """What the command and its children used: CPU seconds (user + system), peak RSS in bytes, wall seconds.

    What meters of this machine said meanwhile (`fleetml.cost.meters`), where the command ran here: the CPU seconds of all
    that ran on its `vcpus`, the command's part of the energy that RAPL counted [J] (None: it cannot be read), and what it
    had of GPUs [s, J].
    """

    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0
    wall_seconds: float = 0.0
    machine_cpu_seconds: float | None = None
    vcpus: int = 0
    joules: float | None = None
    gpu_seconds: float = 0.0
    gpu_joules: float = 0.0

    @classmethod
    def total(cls, parts: Iterable[Usage]) -> Usage:
        """Return what commands used that ran one after another: sums, and the highest peak."""
        found = list(parts)
        return cls(
            sum(part.cpu_seconds for part in found),
            max((part.max_rss_bytes for part in found), default=0),
            sum(part.wall_seconds for part in found),
            _sum(part.machine_cpu_seconds for part in found),
            max((part.vcpus for part in found), default=0),
            _sum(part.joules for part in found),
            sum(part.gpu_seconds for part in found),
            sum(part.gpu_joules for part in found),
        )


def _sum(parts: Iterable[float | None]) -> float | None:
    """Return a sum, None where a part of it is not known."""
    found = list(parts)
    return None if not found or None in found else sum(part for part in found if part is not None)


@frozen
class Exit:
    """How the command ended.

    `status` is the exit status, or the negative number of the signal that ended it, as the kernel told it.
    `ended` says who ended it: itself, or the runner on a cancel, a time limit or a memory limit.
    """

    status: int
    usage: Usage = Usage()
    ended: Ended = "itself"

    @property
    def succeeded(self) -> bool:
        return self.status == 0 and self.ended == "itself"

    def __str__(self) -> str:
        if self.ended != "itself":
            return {"cancelled": "cancelled", "timeout": "over its time limit", "memory": "over its memory limit"}[
                self.ended
            ]
        if self.status < 0:
            known = -self.status in {number.value for number in signal.Signals}  # real-time signals have no names
            return f"killed by {signal.Signals(-self.status).name if known else f'signal {-self.status}'}"
        return f"exit status {self.status}"


# The features of kfp-kubernetes that every runner honours: `Command.secrets` and `Limits.seconds`.
EVERYWHERE = frozenset({"secretAsEnv", "activeDeadlineSeconds"})


class Runner(Protocol):
    """Runs one command and returns when it and all its children are gone.

    One with a true attribute `refers_to_secrets` has a step's secrets delivered by its cluster, and gets none. One
    with an attribute `honours` says which features of a cluster steps get from it, beyond those of `EVERYWHERE`.
    """

    def run(self, command: Command, on_line: Callable[[str], None], cancel: threading.Event) -> Exit:
        """Run `command`; call `on_line` with each line of its output (both streams, no newline) as it comes, or its method
        `several` with all that are there (`fleetml.lines`).

        Setting `cancel` stops it: a polite signal first, then a kill after a grace. Raises ConfigurationError
        when the environment or the program is not there, Unavailable when the machine can start no process.
        """
        ...


@runtime_checkable
class ContainerRunner(Runner, Protocol):
    """Runs a command in a container of its image."""

    def pin(self, reference: str, local: bool) -> str:
        """See `fleetml.images.Pin`."""
        ...
