"""A network for the rows of a table, as an estimator: fitted with early stopping, and exported as a graph."""

from __future__ import annotations

import copy
import math
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from fleetml.errors import InvalidParameter
from fleetml.learn.builder import OPSET
from fleetml.learn.export import simplify
from fleetml.learn.neural_bodies.table import BLOCKS, TableBody

Floats = npt.NDArray[np.float32]
# Standard deviations beyond which a feature says no more: a serving row far outside must not blow up a network.
_REACH = 10.0
_CHUNK = 8192  # rows at a time where nothing is learnt
_LEAST_STEPS = 11  # of a schedule: a tenth of ten is one step, in which OneCycleLR cannot rise (it divides by 0)


@dataclass(frozen=True)
class Shape:
    """The network (`block`: mlp, resnet or gated) and its training; `patience`: epochs without a better one, 0: all are run."""

    block: str = "resnet"
    width: int = 128
    depth: int = 2
    dropout: float = 0.1
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    epochs: int = 60
    batch_size: int = 128
    patience: int = 12

    def __post_init__(self) -> None:
        if self.block not in BLOCKS:
            raise InvalidParameter(
                f"block of a network must be one of {', '.join(BLOCKS)}, got {self.block!r}; choose one"
            )


class TableNet:
    """Fitted to rows [N, F] and class numbers from 0 (`classifies`), or standardised values; scaling is inside."""

    def __init__(self, shape: Shape, classifies: bool, seed: int = 0) -> None:
        self.shape, self.classifies, self.seed = shape, classifies, seed
        self.epochs = 0  # that led to the weights which were kept

    def fit(
        self,
        rows: Floats,
        target: npt.NDArray[Any],
        validation_rows: Floats | None = None,
        validation_target: npt.NDArray[Any] | None = None,
        watch: Callable[[float, Floats], None] | None = None,
    ) -> TableNet:
        """Learn by AdamW under a falling rate; with validation rows the best epoch's weights are kept.

        `watch` is then told, after each epoch, the error on these rows and what was said of them [V, C].
        """
        torch.manual_seed(self.seed)
        self._build(rows, target)
        given, wanted = torch.from_numpy(np.ascontiguousarray(rows, np.float32)), self._target(target)
        held = None
        if validation_rows is not None and validation_target is not None and len(validation_rows):
            held = torch.from_numpy(np.ascontiguousarray(validation_rows, np.float32)), self._target(validation_target)
        self._learn(given, wanted, held, watch)
        return self

    def predict_proba(self, rows: Floats) -> Floats:
        """Return the probabilities [N, classes]."""
        return self._said(rows)

    def predict(self, rows: Floats) -> npt.NDArray[Any]:
        """Return the class numbers, or the values, [N]."""
        said = self._said(rows)
        return said.argmax(axis=1) if self.classifies else said[:, 0]

    def graph(self) -> onnx.ModelProto:
        """Return the graph rows [R, F] → said [R, classes] (probabilities) or [R, 1] (values)."""
        features = self.network.middle.shape[1]
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            path = Path(folder) / "model.onnx"
            torch.onnx.export(
                self.network.eval(),
                (torch.zeros(2, features),),
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=["rows"],
                output_names=["said"],
                dynamic_axes={"rows": {0: "batch"}, "said": {0: "batch"}},
            )
            return simplify(onnx.load(path))

    def _build(self, rows: Floats, target: npt.NDArray[Any]) -> None:
        outputs = int(target.max()) + 1 if self.classifies else 1
        self.network = _Scaled(rows, self.shape, outputs, self.classifies)

    def _target(self, target: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(target.astype(np.int64 if self.classifies else np.float32))

    def _learn(
        self,
        rows: Tensor,
        target: Tensor,
        held: tuple[Tensor, Tensor] | None,
        watch: Callable[[float, Floats], None] | None,
    ) -> None:
        shape, network = self.shape, self.network
        optimizer = torch.optim.AdamW(network.parameters(), shape.learning_rate, weight_decay=shape.weight_decay)
        steps = max(_LEAST_STEPS, shape.epochs * math.ceil(len(rows) / shape.batch_size))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, shape.learning_rate, steps, pct_start=0.1)
        least, since, kept = math.inf, 0, copy.deepcopy(network.state_dict())
        for epoch in range(shape.epochs):
            network.train()
            for places in torch.randperm(len(rows)).split(shape.batch_size):
                optimizer.zero_grad()
                self._loss(network.body_of(rows[places]), target[places]).backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
            error = self._error(*held, watch) if held else -float(epoch)
            if error < least:
                least, since, kept, self.epochs = error, 0, copy.deepcopy(network.state_dict()), epoch + 1
            else:
                since += 1
            if held and shape.patience and since >= shape.patience:
                break
        network.load_state_dict(kept)

    def _loss(self, said: Tensor, target: Tensor) -> Tensor:
        if self.classifies:
            return nn.functional.cross_entropy(said, target)
        return nn.functional.mse_loss(said[:, 0], target)

    def _error(self, rows: Tensor, target: Tensor, watch: Callable[[float, Floats], None] | None) -> float:
        self.network.eval()
        with torch.no_grad():
            said = torch.cat([self.network.body_of(part) for part in rows.split(_CHUNK)])
            error = float(self._loss(said, target))
            if watch:
                watch(error, (torch.softmax(said, dim=1) if self.classifies else said).numpy())
            return error

    def _said(self, rows: Floats) -> Floats:
        self.network.eval()
        with torch.no_grad():
            parts = torch.from_numpy(np.ascontiguousarray(rows, np.float32)).split(_CHUNK)
            return torch.cat([self.network(part) for part in parts]).numpy()


class _Scaled(nn.Module):
    """Rows are standardised by what was learnt from, a feature that was constant is 0; probabilities, or values, come out."""

    middle: Tensor
    inverse: Tensor

    def __init__(self, rows: Floats, shape: Shape, outputs: int, classifies: bool) -> None:
        super().__init__()
        spread = rows.std(axis=0, dtype=np.float64)
        spread[spread < 1e-9] = math.inf
        self.register_buffer("middle", torch.from_numpy(rows.mean(axis=0, dtype=np.float64).astype(np.float32)[None]))
        self.register_buffer("inverse", torch.from_numpy((1 / spread).astype(np.float32)[None]))
        self.body = TableBody(shape.block, rows.shape[1], outputs, shape.width, shape.depth, shape.dropout)
        self.classifies = classifies

    def body_of(self, rows: Tensor) -> Tensor:
        """Return the logits, or the values."""
        return self.body(torch.clamp((rows - self.middle) * self.inverse, -_REACH, _REACH))

    def forward(self, rows: Tensor) -> Tensor:
        said = self.body_of(rows)
        return torch.softmax(said, dim=1) if self.classifies else said
