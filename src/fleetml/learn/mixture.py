"""The family `mixture`: experts weighed by what they were worth lately on this VM, with quantiles.

Untrained it is arithmetic: weights in proportion to exp(-SHARPNESS e / mean e) of the experts' mean past errors e, the
forecast their softened weighted median step by step, the quantiles those of what the experts say under flatter weights. It has no
parameter that was fitted to data, so it needs no training windows. The constants are chosen on the validation blocks of
`fleetml.learn.gift_eval`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fleetml.learn.experts import Memory, Trials, fill
from fleetml.learn.mixture_head import Head, features, steps_of
from fleetml.learn.quantiles import LEVELS, quantile, rising
from fleetml.learn.windows import Meta

SHARPNESS = 16.0
FLATNESS = 0.25  # of the weights of the quantiles: the power that the others are raised to
NARROWNESS = 0.08  # of the quantiles, as SOFTNESS
SOFTNESS = 0.4  # of the median: how far from a half of all weight a value may lie to have a say


class Mixture(nn.Module):
    """history [batch, context], NaN: missing; covariates unused → forecast [batch, horizon], quantiles [batch, horizon, Q].

    With a head (`fleetml.learn.mixture_training` fits one) the weights and the forecast are what it makes of them.
    """

    family = "mixture"
    blocks: Tensor

    def __init__(self, meta: Meta, memory: Memory, head: Head | None = None) -> None:
        super().__init__()
        self.season = meta.season
        self.trials = Trials(meta, memory)
        self.head = head
        self.register_buffer("blocks", steps_of(meta), persistent=False)

    def forward(self, history: Tensor, covariates: Tensor) -> tuple[Tensor, Tensor]:
        said, errors, known = self.trials(history)
        logs = log_weights(errors, known).unsqueeze(1)
        shift = None
        if self.head is not None:
            seen, unit = features(fill(history), said, errors, known, self.season)
            more, shifts = self.head(seen)
            logs = (logs + more).index_select(1, self.blocks)
            shift = (shifts * unit).index_select(1, self.blocks)
        ordered, places = torch.sort(said, dim=-1)
        if shift is not None:
            ordered = ordered + shift.unsqueeze(-1)
        forecast = torch.relu(quantile(ordered, _reached(torch.softmax(logs, dim=-1), places), 0.5, SOFTNESS))
        spread = _reached(torch.softmax(FLATNESS * logs, dim=-1), places)
        found = [quantile(ordered, spread, level, NARROWNESS) for level in LEVELS]
        return forecast, rising(found, LEVELS, forecast)


def log_weights(errors: Tensor, known: Tensor) -> Tensor:
    """The logarithm of the weight of each expert [batch, K], the best one's 0; they do not sum to 1.

    errors [batch, past, K], known [batch, past, 1]: 0 for a place where nothing was measured.
    """
    mean = (errors * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
    least = mean.min(dim=-1, keepdim=True).values
    return -SHARPNESS * (mean - least) / mean.mean(dim=-1, keepdim=True).clamp(min=1e-9)


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """The softened weighted median of the last axis; weights sum to 1 and are broadcast: [...]."""
    ordered, places = torch.sort(values, dim=-1)
    return quantile(ordered, _reached(weights, places), 0.5, SOFTNESS)


def _reached(weights: Tensor, places: Tensor) -> Tensor:
    """The share of all weight up to each place of an order, broadcast."""
    return torch.gather(weights.expand_as(places), -1, places).cumsum(dim=-1)
