"""Rollouts whose truth is known: VMs differ in size and in which version suits them, and their errors depend on the past."""

from dataclasses import dataclass

import numpy as np

from fleetml.serving.rollout.decision import Decision, Evidence, Policy, Progress, Side, decide

ROWS = 12  # questions of a VM from look to look, an hour's worth


@dataclass(frozen=True)
class World:
    """`ratio`: of the second version's error to the served one's for the typical VM. `taste` (log scale, persistent) is how
    much VMs differ in that, `noise` what an hour adds to it, carried on to the next by `memory`."""

    ratio: float = 1.0
    vms: int = 80
    looks: int = 36
    taste: float = 0.2
    noise: float = 0.4
    memory: float = 0.9


def rollout(world: World, policy: Policy, random: np.random.Generator) -> Decision:
    """Return the decision that ended one canary; "wait" if none did."""
    served, second = _errors(world, random)
    joined = np.full(world.vms, world.looks)  # the look from which a VM is in the share
    place, share, began, progress = random.random(world.vms), policy.steps[0], 0, Progress()
    found, rows, pairs = Decision("wait", "", share), 0, [np.zeros(world.vms), np.zeros(world.vms)]
    for now in range(1, world.looks + 1):
        joined = np.where((place < share) & (joined == world.looks), now - 1, joined)
        pairs = [
            total + np.where(now > joined, e[now - 1], 0.0) for total, e in zip(pairs, (served, second), strict=True)
        ]
        rows, step = rows + int((now > joined).sum()) * ROWS, (now - began) * ROWS * world.vms
        side = Side(rows, 0, 1.0)
        evidence = Evidence("canary", share, side, side, *pairs, rows, step, 60.0 * (now - began), float(now))
        found = decide(evidence, progress, policy)
        progress = found.progress
        if found.action == "advance":
            share, began = found.share, now
        elif found.action != "wait":
            return found
    return found


def _errors(world: World, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the hourly summed errors [looks, VMs] of both versions."""
    size = np.exp(random.normal(0, 2, world.vms))
    shared = random.gamma(2.0, 0.5, (world.looks, world.vms))
    made = []
    for ratio in (1.0, world.ratio):
        state = np.zeros(world.vms)
        steps = []
        for _ in range(world.looks):
            state = world.memory * state + random.normal(0, world.noise * np.sqrt(1 - world.memory**2), world.vms)
            steps.append(state)
        own = random.normal(0, world.taste, world.vms)
        made.append(size * shared * ratio * np.exp(own + np.array(steps)))
    return made[0], made[1]
