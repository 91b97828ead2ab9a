"""What is decided of a rollout: how often wrongly (1,000 simulated A/A rollouts), and how surely rightly."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fleetml.serving.rollout.decision import Evidence, Policy, Progress, Side, decide, signed_rank
from tests.serving.rollout.simulation import World, rollout

POLICY = Policy()


def ended(world: World, rollouts: int, seed: int = 0) -> Counter[str]:
    random = np.random.default_rng(seed)
    return Counter(rollout(world, POLICY, random).action for _ in range(rollouts))


def test_of_1000_rollouts_of_a_version_that_is_no_better_at_most_5_percent_are_promoted() -> None:
    found = ended(World(), 1000)
    assert found["promote"] <= 0.05 * 1000
    assert found["rollback"] >= 0.95 * 1000  # patience, all but a few: nothing was shown
    assert found["wait"] == 0
