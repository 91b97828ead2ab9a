"""GPUs: how many a step asks for, and how many this machine has."""

from __future__ import annotations

from pathlib import Path

from fleetml.errors import ConfigurationError
from fleetml.pipeline.model import Resources

DEVICES = Path("/dev")


def asked(resources: Resources, place: str) -> int:
    """Return how many accelerators a step asks for. Raises ConfigurationError where they are not GPUs of NVIDIA, the
    only ones that are looked for on this machine, and for a count that is none.
    """
    count, kind = resources.accelerator_count or "0", resources.accelerator_type
    if not count.isdecimal():
        raise ConfigurationError(f"{place}: a number of accelerators is a whole number, got {count!r}; correct it")
    if int(count) and kind and "nvidia" not in kind.lower():
        raise ConfigurationError(
            f"{place} asks for {count} {kind}, and only NVIDIA's GPUs are looked for on this machine; "
            "run it on a cluster that has them: --runner kubernetes"
        )
    return int(count)


def require(resources: Resources, place: str) -> int:
    """Return how many GPUs a step asks for. Raises ConfigurationError where this machine has fewer."""
    wanted = asked(resources, place)
    found = len(list(DEVICES.glob("nvidia[0-9]*"))) if wanted else 0
    if wanted > found:
        raise ConfigurationError(
            f"{place} asks for {wanted} GPU{'s' if wanted > 1 else ''} ({resources.accelerator_type or 'any'}), this "
            f"machine has {found or 'none'}; run it where there are some, or take set_accelerator_limit out of the pipeline"
        )
    return wanted
