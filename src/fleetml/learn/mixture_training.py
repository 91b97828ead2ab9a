"""Fits the head of a mixture: the L1 of its forecast in units of the score, on windows whose experts are computed once.

The experts know no parameters, so what they say and what the head sees of it is kept; an epoch costs the head and the
weighted median only. A step of the loop takes some of the horizon's steps, the same number of each block. The weights kept
are their moving average.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fleetml.errors import InvalidData
from fleetml.learn.experts import Memory, fill
from fleetml.learn.mixture import Mixture, log_weights, weighted_median
from fleetml.learn.mixture_head import Head, blocks_of, features, steps_of
from fleetml.learn.training import WEIGHT_QUANTILE, measured, scorable
from fleetml.learn.windows import Meta, Windows

_CHUNK = 250
_AVERAGE = 0.999
_RISE = 300  # steps


@dataclass(frozen=True)
class Recipe:
    """AdamW under a learning rate that rises for 300 steps or a fifth of them and falls to zero by a cosine; `steps` of each block a turn."""

    epochs: int = 7
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    batch_size: int = 256
    steps: int = 3


@dataclass(frozen=True)
class Examples:
    """What is left of N windows that can be scored: seen [N, F], logs [N, K], said [N, horizon, K], unit [N, 1], target and

    mask [N, horizon] (0: missing), weight [N] of an error in the target's unit.
    """

    seen: Tensor
    logs: Tensor
    said: Tensor
    unit: Tensor
    target: Tensor
    mask: Tensor
    weight: Tensor

    @classmethod
    def of(cls, parts: Iterable[Windows], memory: Memory) -> Examples:
        """Run the experts on windows, part by part. Raises InvalidData when none can be scored."""
        made = [_examples(part, memory) for part in parts]
        joined = [torch.cat(tensors) for tensors in zip(*made, strict=True)] if made else []
        if not joined or not len(joined[0]):
            raise InvalidData(
                "a mixture must be trained on windows with a target and a positive scale, got none; "
                "give more days or VMs that vary"
            )
        seen, logs, said, unit, target, mask, scale = joined
        ratio = unit[:, 0] / scale
        most = torch.quantile(ratio[:: 1 + len(ratio) // 100_000], WEIGHT_QUANTILE)
        return cls(seen, logs, said, unit, target, mask, torch.minimum(ratio, most) / unit[:, 0])


def _examples(windows: Windows, memory: Memory) -> list[Tensor]:
    """Return seen, logs, said, unit, target, mask and scale of the windows that can be scored."""
    scored = scorable(windows)
    trials = Mixture(windows.meta, memory).trials.eval()
    parts: list[tuple[Tensor, ...]] = []
    with torch.no_grad():
        for history in torch.from_numpy(scored.history).split(_CHUNK):
            said, errors, known = trials(history)
            seen, unit = features(fill(history), said, errors, known, windows.meta.season)
            parts.append((seen, log_weights(errors, known), said, unit))
    found = [torch.cat(part) for part in zip(*parts, strict=True)]
    return [*found, *measured(scored), torch.from_numpy(scored.scale)]


def fit(
    examples: Examples,
    meta: Meta,
    memory: Memory,
    recipe: Recipe,
    seed: int,
    report: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Mixture:
    """Return the mixture with a head fitted to the examples; `report(epoch, loss)` is called after each epoch."""
    torch.manual_seed(seed)
    bounds = blocks_of(meta.horizon)
    head = Head(examples.seen, examples.said.shape[2], len(bounds))
    kept = copy.deepcopy(head)
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=recipe.weight_decay)
    total = recipe.epochs * math.ceil(len(examples.weight) / recipe.batch_size)
    done = 0
    blocks = steps_of(meta)
    for epoch in range(recipe.epochs):
        losses = 0.0
        for rows in torch.randperm(len(examples.weight)).split(recipe.batch_size):
            optimizer.param_groups[0]["lr"] = recipe.learning_rate * _share(done, total)
            loss = _loss(head, examples, rows, _some(bounds, recipe.steps), blocks)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            done += 1
            _average(kept, head, min(_AVERAGE, done / (done + 10)))
            losses += loss.item() * len(rows)
        report(epoch, losses / len(examples.weight))
    return Mixture(meta, memory, kept.eval()).eval()


def _loss(head: Head, examples: Examples, rows: Tensor, steps: Tensor, blocks: Tensor) -> Tensor:
    more, shift = head(examples.seen[rows])
    block = blocks[steps]
    weights = torch.softmax(examples.logs[rows].unsqueeze(1) + more, dim=-1).index_select(1, block)
    said = examples.said[rows[:, None], steps[None]]
    forecast = torch.relu(weighted_median(said, weights) + (shift * examples.unit[rows]).index_select(1, block))
    mask = examples.mask[rows][:, steps]
    errors = (forecast - examples.target[rows][:, steps]).abs() * mask
    known = mask.sum(dim=1)
    mean = errors.sum(dim=1) / known.clamp(min=1)
    return (mean * examples.weight[rows]).sum() / (known > 0).sum().clamp(min=1)


def _some(bounds: Sequence[tuple[int, int]], count: int) -> Tensor:
    """Return `count` steps of each block, drawn with replacement."""
    return torch.cat([torch.randint(begin, end, (count,)) for begin, end in bounds])


def _share(done: int, total: int) -> float:
    return min(1.0, (done + 1) / min(_RISE, total / 5)) * (1 + math.cos(math.pi * done / total)) / 2 + 1e-3


@torch.no_grad()
def _average(kept: Head, head: Head, share: float) -> None:
    for mean, now in zip(kept.parameters(), head.parameters(), strict=True):
        mean.mul_(share).add_(now, alpha=1 - share)
