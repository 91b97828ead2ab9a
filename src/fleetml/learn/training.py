"""The training loop of the neural forecasters: L1 in units of the score, best epoch kept, wall clock respected."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from fleetml.learn.distributed import ALONE, Checkpoint, World
from fleetml.learn.neural import Network
from fleetml.learn.windows import Floats, Windows

# A burst in a nearly idle VM may weigh 10,000 times a usual window; beyond this quantile of weights it does not.
WEIGHT_QUANTILE = 0.99
_RISE = 0.2  # of the steps


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: AdamW under a learning rate that rises for a fifth of the steps, then falls to zero."""

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
        scored = scorable(windows)
        target, mask = measured(scored)
        return cls(
            torch.from_numpy(scored.history),
            torch.from_numpy(scored.covariates),
            target,
            mask,
            torch.from_numpy(scored.scale),
        )

    def to(self, device: str) -> "Examples":
        """Return them on a device."""
        return Examples(*(getattr(self, part.name).to(device) for part in fields(self)))

    def errors(self, forecast: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """MAE of each window [N], in the target's unit, over the steps that were given."""
        mask = self.mask[rows]
        return ((forecast - self.target[rows]).abs() * mask).sum(1) / mask.sum(1)


def scorable(windows: Windows) -> Windows:
    """Return the windows with a positive scale and some target."""
    return windows[(windows.scale > 0) & (windows.target == windows.target).any(axis=1)]


def measured(windows: Windows) -> tuple[Tensor, Tensor]:
    """Return the target, 0 where it is missing, and the mask, 0 there and 1 elsewhere: [N, horizon] each."""
    target = torch.from_numpy(windows.target)
    return torch.nan_to_num(target), (~torch.isnan(target)).float()


def fit(
    network: Network,
    train: Examples,
    val: Examples,
    recipe: Recipe,
    seed: int,
    deadline: float = math.inf,
    report: Callable[[int, float], None] = lambda epoch, score: None,
    world: World = ALONE,
    checkpoint: Checkpoint | None = None,
) -> float:
    """Train in place, leave the weights of the best epoch, return its validation MASE.

    Stops at `deadline` (`time.monotonic()`, s), but never before one epoch; `report(epoch, score)` may raise to stop. As one of
    several processes (`world`) each trains its part of every batch. A `checkpoint` is written after each epoch, and where there is
    one the training goes on after it: with as many processes, bit for bit as if it had never stopped.
    """
    torch.manual_seed(seed + world.rank)
    order = torch.Generator().manual_seed(seed)  # the same for all processes, whatever their dropout draws
    weighing, model = weights(network, train), world.parallel(network)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=recipe.weight_decay)
    schedule = _Schedule(recipe, math.ceil(len(train.scale) / recipe.batch_size))
    begin, best, kept = 0, math.inf, copy.deepcopy(network.state_dict())
    if checkpoint and (found := checkpoint.read(world.device)):
        begin, best, kept = _resume(found, network, optimizer, schedule, order, world.rank)
    for epoch in range(begin, recipe.epochs):
        begun = time.monotonic()
        network.train()
        for rows in torch.randperm(len(train.scale), generator=order).split(recipe.batch_size):
            own, count = world.share(rows)
            optimizer.param_groups[0]["lr"] = schedule.step()
            loss = (train.errors(model(train.history[own], train.covariates[own]), own) * weighing[own]).sum() / count
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        score = validate(network, val)
        if score < best:
            best, kept = score, copy.deepcopy(network.state_dict())
        report(epoch, score)
        now = time.monotonic()
        left = schedule.shorten(world.agreed((deadline - now) / (now - begun)))
        if checkpoint:
            draws = world.each(torch.get_rng_state())
            if world.first:
                checkpoint.write(_state(epoch + 1, best, kept, network, optimizer, schedule, order, draws))
        if left < 1:
            break
    network.load_state_dict(kept)
    network.eval()
    return best


def _state(
    epoch: int,
    best: float,
    kept: dict[str, Any],
    network: Network,
    optimizer: torch.optim.Optimizer,
    schedule: "_Schedule",
    order: torch.Generator,
    draws: list[Tensor],
) -> dict[str, Any]:
    """Return all that the next epoch depends on, as plain values and tensors; `draws` are the random states of the processes."""
    return {
        "epoch": epoch,
        "best": best,
        "kept": kept,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": {"place": schedule.place, "left": schedule.left},
        "order": order.get_state(),
        "draws": draws,
    }


def _resume(
    found: dict[str, Any],
    network: Network,
    optimizer: torch.optim.Optimizer,
    schedule: "_Schedule",
    order: torch.Generator,
    rank: int,
) -> tuple[int, float, dict[str, Any]]:
    """Set everything as it was after the last epoch; return the next one, the best score and its weights.

    A process that was not there then goes on drawing by its own seed.
    """
    network.load_state_dict(found["network"])
    optimizer.load_state_dict(found["optimizer"])
    schedule.place, schedule.left = found["schedule"]["place"], found["schedule"]["left"]
    order.set_state(found["order"].cpu())
    if rank < len(found["draws"]):
        torch.set_rng_state(found["draws"][rank].cpu())
    return found["epoch"], found["best"], found["kept"]


class _Schedule:
    """The learning rate of each step; it still falls to zero when time allows fewer epochs than the recipe."""

    def __init__(self, recipe: Recipe, steps: int) -> None:
        self.peak, self.steps = recipe.learning_rate, steps
        self.left = recipe.epochs * steps
        self.place = 0.0  # from 0, the start, to 1, the end

    def step(self) -> float:
        """Return the learning rate of the next step."""
        self.place += (1 - self.place) / max(self.left, 1)
        self.left -= 1
        if self.place < _RISE:
            return self.peak * self.place / _RISE
        return self.peak * (1 + math.cos(math.pi * (self.place - _RISE) / (1 - _RISE))) / 2 + 1e-9

    def shorten(self, epochs: float) -> int:
        """Plan for at most that many further epochs, rounded down; return how many whole ones are left."""
        self.left = int(min(self.left // self.steps, max(epochs, 0))) * self.steps
        return self.left // self.steps


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


def weights(network: Network, train: Examples) -> Tensor:
    """Weight of each window's MAE [N]: 1 / scale, where that does not exceed the usual in the window's own spread."""
    with torch.no_grad():
        spread = network.naive(train.history)[2][:, 0]
    ratio = spread / train.scale
    return torch.minimum(ratio, torch.quantile(ratio, WEIGHT_QUANTILE)) / spread
