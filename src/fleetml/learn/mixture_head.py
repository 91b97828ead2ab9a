"""What a mixture learns: how to weigh its experts beyond their past errors, and by how much to shift what they say."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from fleetml.learn.experts import median
from fleetml.learn.neural import symlog
from fleetml.learn.windows import Meta

BLOCKS = 4  # of the horizon, at most: one weight each
WIDTH = 256
DEPTH = 2
DROPOUT = 0.1
_RECENT = 48  # steps that are looked at one by one
_LEVEL = 72  # steps whose median is the level
_LEAST = 0.01  # of the unit: the error below which experts are equally good
_FAR = 6.0  # standard deviations


def features(filled: Tensor, said: Tensor, errors: Tensor, known: Tensor, season: int) -> tuple[Tensor, Tensor]:
    """Return what the head looks at [batch, F], and the unit [batch, 1] of its shifts: the experts' mean past error.

    filled [batch, context] without NaN; said [batch, horizon, K], errors [batch, past, K], known [batch, past, 1] of `Trials`.
    """
    count = known.sum(dim=1).clamp(min=1)
    mean = (errors * known).sum(dim=1) / count
    level = median(filled[:, -_LEVEL:])
    unit = mean.mean(dim=1, keepdim=True) + 1e-3 * level.abs() + 1e-6

    def scaled(values: Tensor) -> Tensor:
        return symlog((values - level) / unit)

    def worth(values: Tensor) -> Tensor:
        return torch.log(values / unit + _LEAST)

    blocks = torch.stack([said[:, begin:end].mean(dim=1) for begin, end in blocks_of(int(said.shape[1]))], dim=1)
    parts = filled[:, -2 * season :].unflatten(1, (-1, max(1, season // 24)))
    made = [
        worth(mean),
        worth(errors[:, -1]),
        worth(errors[:, -3:].mean(dim=1)),
        worth(mean.min(dim=1, keepdim=True).values),
        scaled(blocks.flatten(1)),
        scaled(filled[:, -_RECENT:]),
        scaled(parts.mean(dim=2)),
        scaled(parts.max(dim=2).values),
        torch.log1p(level),
        torch.log(unit),
        torch.log(unit / (level + 1)),
        1 - known.squeeze(2),
    ]
    return torch.cat(made, dim=1), unit


class Head(nn.Module):
    """features [batch, F] → what is added to the logarithms of the weights [batch, blocks, K], shifts [batch, blocks] in units.

    Begins as if it were not there: both are zeros until it is trained.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, seen: Tensor, experts: int, blocks: int = BLOCKS) -> None:
        """`seen` [N, F] are features of training windows, by which others are standardised; of one window they have no deviation."""
        super().__init__()
        self.register_buffer("mean", seen.mean(dim=0))
        self.register_buffer("deviation", seen.std(dim=0, correction=min(1, len(seen) - 1)).clamp(min=0.05))
        self.experts, self.blocks = experts, blocks
        self.stem = nn.Linear(seen.shape[1], WIDTH)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(WIDTH, WIDTH)
            )
            for _ in range(DEPTH)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.weigh = nn.Linear(WIDTH, blocks * experts)
        self.shift = nn.Linear(WIDTH, blocks)
        for last in (self.weigh, self.shift):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.stem(((features - self.mean) / self.deviation).clamp(-_FAR, _FAR))
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        hidden = self.norm(hidden)
        return self.weigh(hidden).unflatten(1, (self.blocks, self.experts)), self.shift(hidden)


def blocks_of(horizon: int) -> list[tuple[int, int]]:
    """Return the first step of each block of the horizon, and the one after its last; no block is empty."""
    count = min(BLOCKS, horizon)
    begins = [-(-block * horizon // count) for block in range(count + 1)]
    return list(itertools.pairwise(begins))


def steps_of(meta: Meta) -> Tensor:
    """Return the block of each step of the horizon, [horizon]."""
    sizes = torch.tensor([end - begin for begin, end in blocks_of(meta.horizon)])
    return torch.repeat_interleave(torch.arange(len(sizes)), sizes)
