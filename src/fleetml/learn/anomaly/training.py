"""Training of the anomaly network: true rows against rows with metrics replaced, and the calibration of any detector."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from fleetml.learn.anomaly import graphs, injection
from fleetml.learn.anomaly.graphs import CLIP, Calibration, Layer, Scaling
from fleetml.learn.anomaly.samples import METRICS, ROWS_PER_WEEK, Numbers, Samples
from fleetml.learn.forecaster import session

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

BATCH = 256
PRIOR = 0.01
"""Share of anomalies that a score of 0.5 supposes."""


def train(train: Samples, val: Samples, width: int, epochs: int, alarms: float, seed: int) -> onnx.ModelProto:
    """Return the calibrated graph of a network with two hidden layers.

    `alarms`: false alarms per VM and week that the threshold admits on the rows of `val`.
    """
    scaling = Scaling.robust(train.values)
    layers = _fit(train.values, scaling, width, epochs, seed)
    hyperparameters = {"width": width, "epochs": epochs, "seed": seed}
    return calibrated(lambda found: graphs.network(scaling, layers, found, hyperparameters), val, alarms, seed)


def calibrated(
    build: Callable[[Calibration], onnx.ModelProto], val: Samples, alarms: float, seed: int
) -> onnx.ModelProto:
    """Return the graph with the calibration that validation rows give it.

    Platt's: slope and offset of the logistic regression of true and replaced rows on the evidence, for a share `PRIOR` of
    anomalies; the threshold is what the share of `val` that `alarms` a week are exceeds.
    """
    from sklearn.linear_model import LogisticRegression

    drawn = np.random.default_rng(seed)
    replaced, _ = injection.contrast(val.values, drawn)
    raw = session(build(Calibration()).SerializeToString())
    true, false = (_evidence(raw, rows) for rows in (val.values, replaced))
    labels = np.repeat((0, 1), (len(true), len(false)))
    fitted = LogisticRegression(C=1e6).fit(np.concatenate([true, false])[:, None], labels)
    slope = max(1e-3, float(fitted.coef_[0, 0]))
    offset = float(fitted.intercept_[0]) + float(np.log(PRIOR / (1 - PRIOR)))
    at = np.quantile(true, max(0.0, 1 - alarms / ROWS_PER_WEEK))
    threshold = float(1 / (1 + np.exp(-np.clip(slope * at + offset, -15, 15))))
    return build(Calibration(slope, offset, min(threshold, 1 - 1e-6)))


def _evidence(raw: Any, rows: Numbers) -> Numbers:
    """Return what an uncalibrated graph says, before its sigmoid."""
    score = raw.run(["score"], {"metrics": rows})[0][:, 0].astype(np.float64)
    score = np.clip(score, 1e-7, 1 - 1e-7)
    return np.log(score / (1 - score)).astype(np.float32)


def _fit(values: Numbers, scaling: Scaling, width: int, epochs: int, seed: int) -> list[Layer]:
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    drawn = np.random.default_rng(seed)
    sizes = (2 * len(METRICS), width, width, len(METRICS))
    linear = [torch.nn.Linear(*pair) for pair in itertools.pairwise(sizes)]
    net = torch.nn.Sequential(linear[0], torch.nn.ReLU(), linear[1], torch.nn.ReLU(), linear[2])
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        began, loss = time.monotonic(), 0.0
        replaced, changed = injection.contrast(values, drawn)
        rows = np.concatenate([values, replaced])
        labels = np.concatenate([np.zeros_like(changed), changed]).astype(np.float32)
        order = drawn.permutation(len(rows))
        for at in range(0, len(order), BATCH):
            some = order[at : at + BATCH]
            loss += _step(net, optimizer, *_inputs(rows[some], scaling), labels[some]) * len(some) / len(order)
        schedule.step()
        log.info("epoch %d: loss %.4f, %.1f s", epoch + 1, loss, time.monotonic() - began)
    return [Layer(layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()) for layer in linear]


def _step(net: Any, optimizer: torch.optim.Optimizer, inputs: Numbers, present: Numbers, labels: Numbers) -> float:
    """Take one step on the binary cross entropy of each metric that is present, and of the row as a whole."""
    import torch

    logits = net(torch.from_numpy(inputs))
    mask, wanted = torch.from_numpy(present), torch.from_numpy(labels)
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, mask, reduction="sum") / mask.sum()
    row = torch.logsumexp(logits + (mask - 1) * 60, dim=1)
    whole = torch.nn.functional.binary_cross_entropy_with_logits(row, wanted.amax(dim=1))
    loss = each + whole
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _inputs(rows: Numbers, scaling: Scaling) -> tuple[Numbers, Numbers]:
    """Return what the graph makes of rows before the network: [N, 12], and the presence [N, 6] in it."""
    present = (np.isfinite(rows) & (scaling.width > 0)).astype(np.float32)
    logs = np.log1p(np.maximum(np.nan_to_num(rows), 0))
    scaled = np.clip((logs - scaling.centre) / np.where(scaling.width > 0, scaling.width, 1), -CLIP, CLIP) * present
    return np.concatenate([scaled, present], axis=1).astype(np.float32), present
