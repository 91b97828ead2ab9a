"""What a trial of the architecture search does: price the untrained network, train it where that is inside the limits, judge its graph."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fleetml.learn import export, search, training
from fleetml.learn.limits import Limits, Price

if TYPE_CHECKING:
    from fleetml.learn.neural_trainer import NeuralTrainer
    from fleetml.learn.search_space import Hyperparameters
    from fleetml.learn.study.trial import Trial

log = logging.getLogger(__name__)


@dataclass
class Objective:
    """Validation MASE of an architecture, and what it costs by `second` (a field of Price) where that is an objective too.

    An architecture over a limit is not trained: it is told with its untrained error, the mean naive forecasts', and by how much it
    is over, so that a sampler learns where the limits run. `counted`: no clock decides, neither of training nor of latency.
    `turns`: how many trials there are to share the time among, until each family has had its turn.
    """

    trainer: NeuralTrainer
    point: Callable[[Mapping[str, Any]], tuple[str, Hyperparameters]]
    limits: Limits
    second: str = ""
    counted: bool = False
    turns: int = 1
    workers: int = 1
    _known: dict[str, tuple[Trial, tuple[float, ...]]] = field(default_factory=dict)

    def __call__(self, trial: Trial) -> tuple[float, ...]:
        family, hyperparameters = self.point(trial.params)
        log.info("trial %d: %s %s", trial.number, family, hyperparameters)
        key = repr((family, sorted(hyperparameters.items())))
        if key in self._known:  # another point may mean the same network
            return _repeated(trial, *self._known[key])
        network = self.trainer.untrained(family, hyperparameters)
        price = self._told(trial, self.limits.price(export.from_torch(network, self.trainer.meta, hyperparameters)))
        if self.limits.reason(price):
            error = training.validate(network, self.trainer.val_examples)
        else:
            candidate = self.trainer.trained(network, hyperparameters, self._deadline(trial), trial.report)
            trial.keep(candidate.graph.SerializeToString())
            trial.note("size_bytes", candidate.size_bytes)
            error, price = candidate.validation_mase, self._told(trial, self.limits.price(candidate.graph))
        trial.constraints.update(self.limits.excess(price))
        values = (error, float(getattr(price, self.second))) if self.second else (error,)
        self._known[key] = (trial, values)
        return values

    def _told(self, trial: Trial, price: Price) -> Price:
        trial.notes.update(asdict(price), reason=self.limits.reason(price))
        return price

    def _deadline(self, trial: Trial) -> float:
        """Return when training must end: the time left is shared among the families whose turn has not come."""
        return math.inf if self.counted else search.turn(trial, self.turns, self.workers)


def _repeated(trial: Trial, earlier: Trial, values: tuple[float, ...]) -> tuple[float, ...]:
    trial.constraints.update(earlier.constraints)
    trial.notes.update(earlier.notes, reason=f"the same network as trial {earlier.number}")
    return values
