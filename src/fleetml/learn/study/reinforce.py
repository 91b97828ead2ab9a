"""REINFORCE (Williams, 1992) as an Optuna sampler: a policy over each parameter's choices, which rewards make likelier."""

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from fleetml.learn.study import history, positions

if TYPE_CHECKING:
    from optuna import Study

Floats = npt.NDArray[np.float64]
# A number is one of at most this many bins of its range; those with few values have one each.
_BINS = 10
_LEARNING_RATE = 1.0
_MEMORY = 0.9  # of the moving average of rewards, the baseline
_EXPLORED = 0.05  # share of the draws that no policy decides


@dataclass
class _Policy:
    """The logits of each parameter's choices, and the trials they were learnt from."""

    logits: dict[str, Floats] = field(default_factory=dict)
    baseline: float = 0.5
    learnt: set[int] = field(default_factory=set)

    def probabilities(self, name: str, kind: BaseDistribution) -> Floats:
        logits = self.logits.get(name, np.zeros(_choices(kind)))
        likely = np.exp(logits - logits.max())
        return (1 - _EXPLORED) * likely / likely.sum() + _EXPLORED / len(likely)

    def learn(self, trial: FrozenTrial, reward: float) -> None:
        """Raise the logits of what was chosen by the advantage, lower the others': the gradient of log probability."""
        for name, value in trial.params.items():
            kind = trial.distributions[name]
            gradient = -self.probabilities(name, kind)
            gradient[_choice(kind, value)] += 1
            known = self.logits.setdefault(name, np.zeros(_choices(kind)))
            known += _LEARNING_RATE * (reward - self.baseline) * gradient
        self.baseline = _MEMORY * self.baseline + (1 - _MEMORY) * reward
        self.learnt.add(trial.number)


class ReinforceSampler(BaseSampler):
    """A factorised softmax policy; a trial's reward is the share of the trials before it that it beats.

    The policy is learnt from the study's history: a study that is resumed, or shared by processes, has all of it.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._policies: dict[str, _Policy] = {}

    def infer_relative_search_space(self, study: "Study", trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing: the policy chooses parameter by parameter."""
        return {}

    def sample_relative(
        self, study: "Study", trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def sample_independent(
        self, study: "Study", trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a value of the choice, or of the bin, that the policy draws."""
        random = np.random.default_rng((self.seed, trial.number, zlib.crc32(param_name.encode())))
        likely = self._policy(study).probabilities(param_name, param_distribution)
        chosen = int(random.choice(len(likely), p=likely))
        if positions.count(param_distribution) <= len(likely):
            return positions.nth(param_distribution, chosen)
        return positions.drawn(param_distribution, (chosen + random.random()) / len(likely))

    def _policy(self, study: "Study") -> _Policy:
        """Return the policy, taught by the trials that have finished since."""
        policy = self._policies.setdefault(study.study_name, _Policy())
        seen = history.finished(study)
        for place, trial in enumerate(seen):
            if trial.number not in policy.learnt:
                before = seen[: place + 1]
                worse_than = history.standing(study, before)
                policy.learn(trial, 1 - float(worse_than[-1]) / max(place, 1))
        return policy


def _choices(kind: BaseDistribution) -> int:
    return int(min(positions.count(kind), max(_BINS, len(getattr(kind, "choices", ())))))


def _choice(kind: BaseDistribution, value: Any) -> int:
    """Return which choice, or bin, a value belongs to."""
    bins = _choices(kind)
    if positions.count(kind) <= bins:
        return positions.index_of(kind, value)
    return min(int(positions.position(kind, value) * bins), bins - 1)
