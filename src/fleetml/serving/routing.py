"""Which version answers a question: the served one, or that of a rollout beside it."""

import hashlib
from dataclasses import dataclass

from fleetml.serving.deployment import Rollout
from fleetml.serving.model import Model

CHAMPION, CHALLENGER, SHADOW = "champion", "challenger", "shadow"
"""Roles in the prediction log."""


@dataclass(frozen=True)
class Served:
    """A served model. `challenger` is the loaded version of `rollout`; None with `fault`, why it could not be loaded."""

    champion: Model
    rollout: Rollout | None = None
    challenger: Model | None = None
    fault: str = ""


def place(rollout: str, key: str) -> float:
    """Return a key's place in a rollout, from 0 to below 1: the same for whoever asks, and on whatever machine."""
    digest = hashlib.sha256(f"{rollout}/{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def chosen(served: Served, key: str) -> bool:
    """Say whether a key belongs to the share that the rollout's version is asked for."""
    return served.rollout is not None and place(served.rollout.id, key) < served.rollout.share
