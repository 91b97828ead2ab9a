"""The training loop of the neural forecasters: L1 in units of the score, best epoch kept, wall clock respected."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fleetml.learn.neural import Network
from fleetml.learn.windows import Floats, Windows

# A burst in a nearly idle VM may weigh 10,000 times a usual window; beyond this quantile of weights it does not.
WEIGHT_QUANTILE = 0.99


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: AdamW under a one-cycle learning rate."""

    learning_rate: float = 4e-3
    weight_decay: float = 1e-3
    batch_size: int = 128
    epochs: int = 12


@dataclass(frozen=True)
class Examples:
    """Windows as tensors: target without NaN, `mask` 1 where it was given, `scale` [N]."""

    history: Tensor
    covariates: Tensor
    target: Tensor
    mask: Tensor
    scale: Tensor

    @classmethod
    def of(cls, windows: Windows) -> "Examples":
        """Return the windows that can be scored."""
        scored = windows[(windows.scale > 0) & (windows.target == windows.target).any(axis=1)]
        target = torch.from_numpy(scored.target)
        return cls(
            torch.from_numpy(scored.history),
            torch.from_numpy(scored.covariates),
            torch.nan_to_num(target),
            (~torch.isnan(target)).float(),
            torch.from_numpy(scored.scale),
        )

    def errors(self, forecast: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """MAE of each window [N], in the target's unit, over the steps that were given."""
        mask = self.mask[rows]
        return ((forecast - self.target[rows]).abs() * mask).sum(1) / mask.sum(1)


def fit(
    network: Network,
    train: Examples,
    val: Examples,
    recipe: Recipe,
    seed: int,
    deadline: float = math.inf,
    report: Callable[[int, float], None] = lambda epoch, score: None,
) -> float:
    """Train in place, leave the weights of the best epoch, return its validation MASE.

    Stops at `deadline` (`time.monotonic()`, s), but never before one epoch; `report(epoch, score)` may raise to stop.
    """
    torch.manual_seed(seed)
    weights = _weights(network, train)
    steps = math.ceil(len(train.scale) / recipe.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * steps)
    best, kept = math.inf, copy.deepcopy(network.state_dict())
    for epoch in range(recipe.epochs):
        network.train()
        for rows in torch.randperm(len(train.scale)).split(recipe.batch_size):
            loss = (train.errors(network(train.history[rows], train.covariates[rows]), rows) * weights[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if epoch and time.monotonic() > deadline:
                break
        score = validate(network, val)
        if score < best:
            best, kept = score, copy.deepcopy(network.state_dict())
        report(epoch, score)
        if time.monotonic() > deadline:
            break
    network.load_state_dict(kept)
    network.eval()
    return best


def validate(network: Network, examples: Examples) -> float:
    """Return the MASE of a network: the mean over windows of MAE / scale."""
    network.eval()
    with torch.no_grad():
        forecast = network(examples.history, examples.covariates)
        return float((examples.errors(forecast) / examples.scale).mean())


def predict(network: Network, windows: Windows) -> Floats:
    """Return the network's own forecast [N, horizon] of all windows."""
    network.eval()
    with torch.no_grad():
        return network(torch.from_numpy(windows.history), torch.from_numpy(windows.covariates)).numpy()


def _weights(network: Network, train: Examples) -> Tensor:
    """Weight of each window's MAE [N]: 1 / scale, where that does not exceed the usual in the window's own spread."""
    with torch.no_grad():
        spread = network.naive(train.history)[2][:, 0]
    ratio = spread / train.scale
    return torch.minimum(ratio, torch.quantile(ratio, WEIGHT_QUANTILE)) / spread
