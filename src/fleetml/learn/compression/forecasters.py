"""Forecasters to compress: windows to calibrate, to tune and to judge with."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from fleetml.learn import conformal, parameters, quantile_head, search
from fleetml.learn import graph as graphs
from fleetml.learn.compression.compressible import Compressible, Feeds, Prunable, thirds
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.metrics import mase
from fleetml.learn.windows import Windows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fleetml.learn.training import Examples

CALIBRATION_WINDOWS = 256
_BATCH = 32
_EPOCHS = 16
_LANES = 4


class ForecasterData:
    """A forecaster's training windows (calibration, tuning) and three parts of its validation windows, by VM.

    The best epoch of a tuning is chosen on `chosen_on`, a choice between graphs made on `compared`, the third `judged`; with fewer
    than three VMs the parts follow each other in time. `seconds`: how long one tuning may take, infinity: all of its epochs;
    0: nothing is tuned, and what would choose its epoch is compared too.
    """

    measure = "mase"
    larger_is_better = False

    def __init__(self, model: onnx.ModelProto, train: Windows, val: Windows, seconds: float, seed: int) -> None:
        self.came, self.model, self.train = model, quantile_head.taken_off(model), train
        self.seconds, self.seed = seconds, seed
        self.scored = scored = search.require_scored(val, "val")
        chosen_on, compared, judged = thirds(scored.vm_id, scored.origin)
        self.chosen_on, self.judged = scored[chosen_on], scored[judged]
        self.compared = scored[compared] if seconds else scored[chosen_on | compared]
        self.rows = len(scored)
        self.deadline = math.inf
        self.found = graphs.describe(self.model)
        self._examples: dict[bool, Examples] = {}

    def original(self) -> Compressible:
        if not self.seconds:
            return Compressible(self.model, None)
        try:
            return Compressible(self.model, parameters.rebuilt(self.model))
        except InvalidGraph:
            return Compressible(self.model, None)

    def finished(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        found = self.found
        return graphs.finish(graph, found.meta, found.family, found.hyperparameters, found.quantiles)

    def complete(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """With quantiles where the model came with them, calibrated on all rows: they do not change the forecast, which is what is judged."""
        if self.came is self.model:
            return graph
        return self.came if graph is self.model else conformal.calibrated(graph, self.scored)

    def exported(self, network: nn.Module) -> onnx.ModelProto:
        from fleetml.learn import export

        return export.from_torch(network, self.found.meta, self.found.hyperparameters)

    def feeds(self) -> Sequence[Feeds]:
        some = self._calibration()
        parts = (some[at : at + _BATCH] for at in range(0, len(some), _BATCH))
        return [{"history": part.history, "covariates": part.covariates} for part in parts]

    def inputs(self) -> tuple[Tensor, ...]:
        import torch

        some = self._calibration()
        return torch.from_numpy(some.history), torch.from_numpy(some.covariates)

    def _calibration(self) -> Windows:
        """Windows spread evenly over the training windows."""
        return self.train[np.unique(np.linspace(0, len(self.train) - 1, CALIBRATION_WINDOWS).astype(int))]

    def prunable(self, network: nn.Module) -> Prunable:
        from fleetml.learn.compression.learnt_part import prunable

        return prunable(network, self.found.meta)  # type: ignore[arg-type]

    def student(self, share: float) -> nn.Module:
        import torch

        from fleetml.learn.neural import Network

        torch.manual_seed(self.seed)
        teacher = parameters.rebuilt(self.model).architecture
        width = _LANES * max(1, round(share * teacher.width / _LANES))
        return Network(self.found.meta, replace(teacher, width=width, dropout=0.0))

    def tune(self, network: nn.Module, taught: bool, rate: float = 1.0) -> None:
        from fleetml.learn import training

        usual = training.Recipe()
        recipe = replace(usual, epochs=_EPOCHS, learning_rate=rate * usual.learning_rate)
        deadline = min(time.monotonic() + self.seconds, self.deadline)
        val = training.Examples.of(self.chosen_on)
        before = training.validate(network, val)  # type: ignore[arg-type]
        weights = copy.deepcopy(network.state_dict())
        after = training.fit(network, self._of(taught), val, recipe, self.seed, deadline)  # type: ignore[arg-type]
        if not after < before:
            network.load_state_dict(weights)

    def _of(self, taught: bool) -> Examples:
        """The training windows; taught, each twice: with the truth and with the original's answer."""
        import torch

        from fleetml.learn import training

        if taught not in self._examples:
            scored = search.require_scored(self.train, "train")
            true = training.Examples.of(scored)
            if taught:
                answers = Forecaster(self.model.SerializeToString()).forecast(scored)
                said = training.Examples.of(replace(scored, target=answers))
                pairs = ((getattr(true, name), getattr(said, name)) for name in true.__dataclass_fields__)
                true = training.Examples(*(torch.cat(pair) for pair in pairs))
            self._examples[taught] = true
        return self._examples[taught]

    def compare(self, graph: onnx.ModelProto) -> float:
        return mase(self.compared, Forecaster(graph.SerializeToString()).forecast(self.compared))

    def figure(self, graph: onnx.ModelProto) -> float:
        return mase(self.judged, Forecaster(graph.SerializeToString()).forecast(self.judged))

    def latency_ms(self, graph: onnx.ModelProto) -> float:
        return search.check_latency(graph, math.inf)
