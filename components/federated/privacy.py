"""Differential privacy of a run: the noise that (epsilon, delta) asks for, and the ledger of what is spent.

Neighbours are two runs that differ in what ONE region contributes. Central: the update of the region, of norm <= clip, or nothing in its
place ("zero-out"), so the sum of updates moves by `clip` at most. Local: any update of norm <= clip in place of any other, so what a region
sends moves by 2 x `clip`. Which regions there are, and which take part when, is known to all: it must not depend on their data.

dp-accounting does the sums. A region spends in the rounds in which it takes part; the run has spent what the region that spent most has.
Nothing is gained by chance ("amplification by sampling"): that holds while nobody knows who was drawn, and the report says who.
Flower's wrappers (`DifferentialPrivacyServerSideFixedClipping`, `LocalDpMod`) are not used: they charge every region for every round,
lose a round in which a region drops out, draw noise from numpy's global generator, and `LocalDpMod` takes sqrt(2 ln(1.25/delta))/epsilon,
which holds for one round and epsilon < 1 only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from components.federated import stream
from components.federated.channel import BudgetSpent
from components.federated.updates import Difference
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.frozen import field, frozen, replace

KINDS = ("central", "local")
_ROUNDING = 1 + 1e-9  # of the search for a multiplier


@frozen
class Mechanism:
    """Gaussian noise on clipped updates, the same in every round.

    kind: central (noise on the sum, by the server) or local (noise on each update, by its region). epsilon: the budget of the whole
    run, at `delta`. clip: largest L2 norm of an update. multiplier: standard deviation of the noise / sensitivity.
    """

    kind: str
    epsilon: float
    delta: float
    clip: float
    multiplier: float

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise on the sum (central) or on one region's update (local), in units of weights."""
        return self.multiplier * self.clip * (2 if self.kind == "local" else 1)


@frozen
class Ledger:
    """What was spent: by region its rounds, also those that never ended, and the sum of 1 / multiplier^2 over them.

    Gaussian mechanisms compose into one whose 1 / sigma^2 is that sum (Dong, Roth, Su 2019), so the accounting is exact.
    """

    regions: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    def charged(self, names: Iterable[str], mechanism: Mechanism) -> Ledger:
        """Return the ledger with one more round of these regions; to be written down BEFORE the round. Raises BudgetSpent."""
        names = list(names)
        if over := [name for name in names if not self.may(name, mechanism)]:
            spent = _epsilon(self._after(over[0], mechanism)[1], mechanism.delta)
            raise BudgetSpent(
                f"privacy: one more round of region {over[0]!r} would spend epsilon {spent:.3f} of {mechanism.epsilon:g} at delta "
                f"{mechanism.delta:g}; {self.spent(mechanism.delta):.3f} are spent. Keep the model as it is, or begin a new run with "
                "a larger epsilon or fewer rounds"
            )
        return Ledger({**self.regions, **{name: self._after(name, mechanism) for name in names}})

    def may(self, name: str, mechanism: Mechanism) -> bool:
        """Whether a region can take part in one more round within the budget."""
        return _epsilon(self._after(name, mechanism)[1], mechanism.delta) <= mechanism.epsilon * _ROUNDING

    def spent(self, delta: float) -> float:
        """Return epsilon at `delta` of the region that spent most."""
        return max((_epsilon(squares, delta) for _, squares in self.regions.values()), default=0.0)

    def _after(self, name: str, mechanism: Mechanism) -> tuple[int, float]:
        rounds, squares = self.regions.get(name, (0, 0.0))
        return rounds + 1, squares + mechanism.multiplier**-2

    def as_record(self) -> dict[str, list[float]]:
        """Return what `of` reads; JSON."""
        return {name: list(spent) for name, spent in self.regions.items()}

    @classmethod
    def of(cls, record: Any) -> Ledger:
        """Return the ledger of a checkpoint. Raises InvalidData: a ledger that cannot be read is never an empty one."""
        try:
            regions = {str(name): (int(rounds), float(squares)) for name, (rounds, squares) in record.items()}
            sound = all(rounds > 0 and 0 < squares < math.inf for rounds, squares in regions.values())
        except (TypeError, ValueError, AttributeError):
            sound = False
        if not sound:
            raise InvalidData(
                f"a ledger of privacy holds rounds and their sum of 1 / multiplier^2 by region, got {str(record)[:80]}; what was spent "
                "is unknown: do not go on with this run, nor begin another on the same data"
            )
        return cls(regions)


def mechanism(kind: str, epsilon: float, delta: float, clip: float, rounds: int) -> Mechanism:
    """Return the mechanism with which `rounds` rounds of a region spend epsilon at `delta`. Raises InvalidParameter."""
    if kind not in KINDS:
        raise InvalidParameter(f"privacy is one of {', '.join(KINDS)}, got {kind!r}; give one of them, or none")
    for name, value, most in (("epsilon", epsilon, math.inf), ("clip", clip, math.inf), ("delta", delta, 1.0)):
        if not 0 < value < most:
            raise InvalidParameter(
                f"privacy {kind} needs {name} between 0 and {most:g}, got {value}; give epsilon 8, delta 1e-5, clip 1 to begin with"
            )
    return Mechanism(kind, epsilon, delta, clip, multiplier_for(epsilon, delta, rounds))


def for_rest(planned: Mechanism, ledger: Ledger, rounds: int) -> Mechanism:
    """Return the mechanism with which `rounds` more rounds of a region spend what the one that spent most has left; never more noise than planned.

    What each round spends adds up, whatever its noise, and the ledger counts it: this plans, the ledger keeps the promise. How many
    rounds are left must not depend on data.
    """
    whole = multiplier_for(planned.epsilon, planned.delta, 1) ** -2
    left = whole - max((squares for _, squares in ledger.regions.values()), default=0.0)
    if left <= 0 or math.sqrt(rounds / left) >= planned.multiplier:
        return planned
    return replace(planned, multiplier=math.sqrt(rounds / left))


def multiplier_for(epsilon: float, delta: float, rounds: int) -> float:
    """Return the least noise multiplier with which `rounds` rounds spend (epsilon, delta)."""
    from dp_accounting import gaussian_mechanism

    return float(gaussian_mechanism.get_sigma_gaussian(epsilon, delta)) * math.sqrt(rounds)


@lru_cache(maxsize=1024)
def _epsilon(squares: float, delta: float) -> float:
    """Return epsilon of Gaussian mechanisms whose 1 / sigma^2 sum up to this (Balle, Wang 2018)."""
    from dp_accounting import gaussian_mechanism

    return float(gaussian_mechanism.get_epsilon_gaussian(squares**-0.5, delta))


def clipped(update: Difference, clip: float) -> Difference:
    """Return the update, shortened to the L2 norm `clip` over all tensors where it is longer. Raises InvalidData if not finite."""
    norm = length(update)
    if not math.isfinite(norm):
        raise InvalidData("an update is finite, got one that is not; leave the region out of the round")
    if norm <= clip:
        return update
    # Shorter by more than rounding can add, to float32 here and to words of a secure sum
    factor = clip / norm * (1 - 1e-5)
    return {name: (value * factor).astype(value.dtype) for name, value in update.items()}


def noised(update: Difference, deviation: float, key: bytes) -> Difference:
    """Return float64 arrays with noise of one standard deviation; `key` is for this call alone."""
    sizes = [value.size for value in update.values()]
    noise = np.split(stream.gaussian(key, sum(sizes)) * deviation, np.cumsum(sizes)[:-1])
    return {
        name: value + drawn.reshape(value.shape) for (name, value), drawn in zip(update.items(), noise, strict=True)
    }


def length(update: Difference) -> float:
    """Return the L2 norm over all tensors."""
    return math.sqrt(sum(float(np.square(value.astype(np.float64)).sum()) for value in update.values()))


def warning(mechanism: Mechanism, regions: float, weights: int) -> str:
    """Return what to tell a user whose noise drowns what is learnt; "" where it does not.

    The noise on the mean of `regions` updates has the norm deviation x sqrt(weights) / regions (central) or / sqrt(regions) (local); the
    mean itself is `clip` at most.
    """
    spread = regions if mechanism.kind == "central" else math.sqrt(regions)
    ratio = mechanism.deviation * math.sqrt(weights) / spread / mechanism.clip
    if ratio <= 1:
        return ""
    return (
        f"privacy: with {regions:g} regions a round, noise multiplier {mechanism.multiplier:.2f} and {weights} weights, the noise is "
        f"{ratio:.1f} times as long as the longest update that clipping leaves. In benchmarks/federated_privacy a model still learnt at "
        "3 times and was worse than an untrained one at 10. What helps: more regions, a larger epsilon, fewer rounds, a smaller network"
    )


def figures(ledger: Ledger, mechanism: Mechanism) -> Mapping[str, float | str]:
    """Return what the metrics, the report and the registry say of privacy; the noise is that of the region that spent most."""
    rounds, squares = max(ledger.regions.values(), key=lambda it: it[1], default=(1, mechanism.multiplier**-2))
    return {
        "privacy": mechanism.kind,
        "epsilon_spent": round(ledger.spent(mechanism.delta), 4),
        "epsilon_budget": mechanism.epsilon,
        "delta": mechanism.delta,
        "noise_multiplier": round(math.sqrt(rounds / squares), 4),  # of a run that went on with others, the mean
        "clip": mechanism.clip,
        "private_rounds": max((rounds for rounds, _ in ledger.regions.values()), default=0),
    }
