"""Anomaly graphs to compress: rows of validation to calibrate and tune with, and incidents in other VMs' rows to judge with."""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx

from fleetml.learn import scorer
from fleetml.learn.anomaly import injection, judge
from fleetml.learn.anomaly.samples import Numbers, Samples
from fleetml.learn.compression import dense
from fleetml.learn.compression.compressible import Compressible, Feeds, Prunable, thirds
from fleetml.learn.forecaster import session

if TYPE_CHECKING:
    from torch import Tensor, nn

_EPOCHS = 96
_RATE = 3e-3
_BATCH = 256
_CALIBRATION, _CALIBRATION_BATCH = 512, 64
_LANES = 4
_SURE = 12.0  # as a logit


class AnomalyData:
    """The validation rows of some VMs to calibrate and tune with, of others to compare graphs by, of the rest to judge with.

    The step that compresses has no training rows, and needs none: the original's answers teach. With fewer than three VMs the parts
    follow each other. `seconds`: how long one tuning may take, infinity: all of its epochs; 0: nothing is tuned.
    """

    measure = judge.MEASURE
    larger_is_better = judge.MORE_IS_BETTER

    def __init__(self, model: onnx.ModelProto, val: Samples, seconds: float, seed: int) -> None:
        self.model, self.seconds, self.seed = model, seconds, seed
        self.found = scorer.describe({prop.key: prop.value for prop in model.metadata_props})
        self.tuned_on, self.compared, self.judged = (_of(val, part) for part in thirds(val.vm_id, val.time))
        self.deadline, self.rows = math.inf, len(val)
        entrance = dense.chain(model)
        self._entrance = entrance[0].input[0] if entrance else ""

    def original(self) -> Compressible:
        return Compressible(self.model, dense.network(self.model) if self.seconds and self._entrance else None)

    def finished(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        found = self.found
        return scorer.finish(graph, found.kind, found.family, found.about, found.hyperparameters)

    def complete(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        return graph

    def exported(self, network: nn.Module) -> onnx.ModelProto:
        return self.finished(dense.written(self.model, network))

    def _calibration(self) -> Numbers:
        places = np.linspace(0, len(self.tuned_on) - 1, min(_CALIBRATION, len(self.tuned_on))).astype(int)
        return self.tuned_on.values[places]

    def feeds(self) -> Sequence[Feeds]:
        rows = self._calibration()
        return [{"metrics": rows[at : at + _CALIBRATION_BATCH]} for at in range(0, len(rows), _CALIBRATION_BATCH)]

    def inputs(self) -> tuple[Tensor, ...]:
        return (self._before_the_layers(self._calibration()),)

    def _before_the_layers(self, rows: Numbers) -> Tensor:
        """What the graph makes of rows before its dense layers: scaled metrics and which are present, [N, 12]."""
        import torch

        probe = onnx.ModelProto()
        probe.CopyFrom(self.model)
        probe.graph.output.append(onnx.helper.make_tensor_value_info(self._entrance, onnx.TensorProto.FLOAT, None))
        loaded = session(probe.SerializeToString())
        return torch.from_numpy(loaded.run([self._entrance], {"metrics": np.ascontiguousarray(rows, np.float32)})[0])

    def prunable(self, network: nn.Module) -> Prunable:
        from torch import nn

        layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
        return Prunable(network, (self.inputs()[0][:2],), layers[-1:])

    def student(self, share: float) -> nn.Module:
        import torch
        from torch import nn

        torch.manual_seed(self.seed)
        linear = [layer for layer in dense.network(self.model) if isinstance(layer, nn.Linear)]
        hidden = [_LANES * max(1, round(share * layer.out_features / _LANES)) for layer in linear[:-1]]
        widths = [linear[0].in_features, *hidden, linear[-1].out_features]
        layers = [part for pair in itertools.pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    def tune(self, network: nn.Module, taught: bool, rate: float = 1.0) -> None:
        import torch

        torch.manual_seed(self.seed)
        drawn, teacher = np.random.default_rng(self.seed), dense.network(self.model)
        rows = self.tuned_on.values
        chosen_on = self._lesson(rows[1::2], drawn, teacher, taught)
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate * _RATE)
        best, kept = _error(network, *chosen_on), copy.deepcopy(network.state_dict())
        end = min(time.monotonic() + self.seconds, self.deadline)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _EPOCHS)
        for _ in range(_EPOCHS):
            inputs, wanted, whole = self._lesson(rows[::2], drawn, teacher, taught)
            network.train()
            for some in torch.randperm(len(inputs)).split(_BATCH):
                optimizer.zero_grad()
                _loss(network, inputs[some], wanted[some], whole[some]).backward()
                optimizer.step()
            schedule.step()
            if (now := _error(network, *chosen_on)) < best:
                best, kept = now, copy.deepcopy(network.state_dict())
            if time.monotonic() > end:
                break
        network.load_state_dict(kept)
        network.eval()

    def _lesson(
        self, rows: Numbers, drawn: np.random.Generator, teacher: nn.Module, taught: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs, and what to answer of each metric and of the row, as logits: the teacher's, or the truth as far ones."""
        import torch

        replaced, changed = injection.contrast(rows, drawn)
        inputs = self._before_the_layers(np.concatenate([rows, replaced]))
        wanted = torch.from_numpy(np.concatenate([np.zeros_like(changed), changed]).astype(np.float32))
        logits = (2 * wanted - 1) * _SURE
        if taught:
            with torch.no_grad():
                logits = teacher(inputs).clamp(-_SURE, _SURE)
        return inputs, logits, _row(logits, inputs)

    def compare(self, graph: onnx.ModelProto) -> float:
        return float(judge.score(self.compared, graph.SerializeToString())[judge.MEASURE])

    def figure(self, graph: onnx.ModelProto) -> float:
        return float(judge.score(self.judged, graph.SerializeToString())[judge.MEASURE])

    def latency_ms(self, graph: onnx.ModelProto) -> float:
        return min(scorer.latency(graph.SerializeToString(), runs=50, warmup=5)[0] for _ in range(3))


def _row(logits: Tensor, inputs: Tensor) -> Tensor:
    """The evidence of a row: log of the sum of exp over the metrics that are present, as the graph has it."""
    import torch

    present = inputs[:, logits.shape[1] :]
    return torch.logsumexp(logits + (present - 1) * 60, dim=1)


def _loss(network: nn.Module, inputs: Tensor, wanted: Tensor, whole: Tensor) -> Tensor:
    """How far the evidence is from what is wanted, of metrics and of rows, which are ranked by it; what is sure may be surer."""
    import torch

    logits = network(inputs)
    present = inputs[:, logits.shape[1] :]
    near = torch.nn.functional.smooth_l1_loss
    each = (near(logits.clamp(-_SURE, _SURE), wanted, reduction="none") * present).sum() / present.sum()
    return each + near(_row(logits, inputs).clamp(-_SURE, _SURE), whole)


def _error(network: nn.Module, inputs: Tensor, wanted: Tensor, whole: Tensor) -> float:
    import torch

    network.eval()
    with torch.no_grad():
        return float(_loss(network, inputs, wanted, whole))


def _of(val: Samples, part: npt.NDArray[np.bool_]) -> Samples:
    return replace(val, vm_id=val.vm_id[part], values=val.values[part], time=None)
