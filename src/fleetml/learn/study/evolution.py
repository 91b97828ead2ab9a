"""Regularised evolution (Real et al., 2019) as an Optuna sampler: the best of a few of the youngest has one gene changed."""

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from fleetml.learn.study import history, positions

if TYPE_CHECKING:
    from optuna import Study

# A population of ten, not the paper's hundred: budgets here are 25 to 100 trials (better than twenty on three tables).
_POPULATION, _TOURNAMENT = 10, 5
# Of the width of a range: how far a number moves.
_REACH = 0.2
# So many children of a parent may have been tried before; then one of them is changed once more.
_TRIES = 20


class EvolutionSampler(BaseSampler):
    """The first `population` trials are random; then each is a child of the best of `tournament` of the youngest `population`.

    It holds no state: what a trial gets depends on the seed, its number and the study's history alone, so a study may be
    resumed, and shared by processes. Pruned and infeasible trials are members, the worst ones.
    """

    def __init__(self, seed: int = 0, population: int = _POPULATION, tournament: int = _TOURNAMENT) -> None:
        self.seed, self.population, self.tournament = seed, population, tournament

    def infer_relative_search_space(self, study: "Study", trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return all that the members of the population were made of; nothing until there is a population."""
        seen = history.finished(study)
        if len(seen) < self.population:
            return {}
        return {name: kind for member in seen[-self.population :] for name, kind in member.distributions.items()}

    def sample_relative(
        self, study: "Study", trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a child: the parent's parameters, one of them changed. What it lacks then is drawn independently."""
        if not search_space:
            return {}
        random = np.random.default_rng((self.seed, trial.number))
        seen = history.finished(study)
        parent = self._parent(study, seen[-self.population :], random)
        known = {tuple(sorted(member.params.items())) for member in seen}
        genes = {name: value for name, value in parent.params.items() if name in search_space}
        for _ in range(_TRIES):
            child = _mutated(genes, search_space, random)
            if tuple(sorted(child.items())) not in known:
                return child
        return _mutated(child, search_space, random)

    def sample_independent(
        self, study: "Study", trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a value drawn uniformly."""
        random = np.random.default_rng((self.seed, trial.number, zlib.crc32(param_name.encode())))
        return positions.drawn(param_distribution, random.random())

    def _parent(self, study: "Study", members: list[FrozenTrial], random: np.random.Generator) -> FrozenTrial:
        places = random.choice(len(members), min(self.tournament, len(members)), replace=False)
        worse_than = history.standing(study, members)
        return members[min(places, key=lambda place: worse_than[place])]


def _mutated(genes: dict[str, Any], space: dict[str, BaseDistribution], random: np.random.Generator) -> dict[str, Any]:
    """Return the genes with one changed: another choice, or a number near by."""
    free = [name for name in sorted(genes) if not space[name].single()]
    if not free:
        return genes
    name = free[random.integers(len(free))]
    return {**genes, name: _other(space[name], genes[name], random)}


def _other(kind: BaseDistribution, value: Any, random: np.random.Generator) -> Any:
    if isinstance(kind, CategoricalDistribution):
        others = [choice for choice in kind.choices if choice != value]
        return others[random.integers(len(others))]
    here = positions.position(kind, value)
    for _ in range(_TRIES):
        moved = positions.value_at(kind, here + _REACH * random.standard_normal())
        if moved != value:
            return moved
    return positions.drawn(kind, random.random())
