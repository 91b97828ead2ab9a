"""A version that is tried beside the served one: asked alone first, then given its share."""

import time
from pathlib import Path
from typing import Any

from components.deploy import smoke
from components.deploy.smoke import Trial
from fleetml.errors import StepFailed, Unavailable
from fleetml.serving import deployment
from fleetml.serving.deployment import Card
from fleetml.serving.rollout import actions
from fleetml.serving.rollout.actions import Place
from fleetml.serving.rollout.decision import Policy

SHARES = {"canary": Policy().steps[0], "ab": 0.5, "shadow": 1.0}
"""Of the VMs, at the begin of a rollout."""


def begin(place: Place, card: Card, trial: Trial, address: str, mode: str) -> dict[str, Any]:
    """Begin a rollout of an installed version; return what the smoke test measured.

    With an `address` its server must have loaded the version when this returns; else the rollout is ended again.
    Raises InvalidParameter, StepFailed, Unavailable.
    """
    found = smoke.alone(place.root, card, trial)
    actions.begin(place, card.name, card.version, mode, SHARES.get(mode, 0.0), "a new version passed the gate")
    made = deployment.read(place.root)[card.name].rollout
    if address and made:
        try:
            _await(place.root, card.name, made.id)
        except BaseException as error:
            actions.roll_back(place, card.name, f"it was not loaded: {error}", None, made.id)
            raise
    return {**found, "rollout": mode}


def _await(root: Path, name: str, rollout: str) -> None:
    """Wait until the server has loaded the version of a rollout."""
    deadline = time.monotonic() + smoke.SWAP_SECONDS
    while time.monotonic() < deadline:
        told = deployment.status(root).get("models", {}).get(name, {}).get("rollout", {})
        if told.get("id") == rollout:
            if told.get("error"):
                raise StepFailed(f"the server must load what it is to try, it says {told['error']}; train again")
            return
        time.sleep(0.05)
    raise Unavailable(
        f"the server must look at {root} and load rollout {rollout} within {smoke.SWAP_SECONDS:.0f} s, it did not; start it "
        "with that --dir, or leave the address empty"
    )
