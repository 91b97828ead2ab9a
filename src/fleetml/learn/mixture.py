"""The family `mixture`: experts weighed by what they were worth lately on this VM, with quantiles.

Untrained it is arithmetic: weights in proportion to exp(-SHARPNESS e / mean e) of the experts' mean past errors e, the
forecast their softened weighted median step by step, the quantiles those of the mixture's own past errors around it. It has no
parameter that was fitted to data, so it needs no training windows. The constants are chosen on the validation blocks of
`fleetml.learn.gift_eval`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fleetml.learn.experts import Memory, Trials, fill
from fleetml.learn.mixture_head import Head, features, steps_of
from fleetml.learn.quantiles import LEVELS, ResidualQuantiles
from fleetml.learn.windows import Meta

SHARPNESS = 16.0
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
        self.spread = ResidualQuantiles(LEVELS)
        self.head = head
        self.register_buffer("blocks", steps_of(meta), persistent=False)

    def forward(self, history: Tensor, covariates: Tensor) -> tuple[Tensor, Tensor]:
        said, past, errors, known = self.trials(history)
        logs = log_weights(errors, known).unsqueeze(1)
        if self.head is None:
            weights = torch.softmax(logs, dim=-1)
            forecast = torch.relu(weighted_median(said, weights))
            before = weighted_median(past, weights.unsqueeze(1))
        else:
            seen, unit = features(fill(history), said, errors, known, self.season)
            more, shifts = self.head(seen)
            weights = torch.softmax(logs + more, dim=-1).index_select(1, self.blocks)
            shift = (shifts * unit).index_select(1, self.blocks)
            forecast = torch.relu(weighted_median(said, weights) + shift)
            reach = past.shape[2]
            before = weighted_median(past, weights[:, :reach].unsqueeze(1)) + shift[:, :reach].unsqueeze(1)
        return forecast, self.spread(history, self.trials.places[:-1], torch.relu(before), forecast)


def log_weights(errors: Tensor, known: Tensor) -> Tensor:
    """The logarithm of the weight of each expert [batch, K], the best one's 0; they do not sum to 1.

    errors [batch, past, K], known [batch, past, 1]: 0 for a place where nothing was measured.
    """
    mean = (errors * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
    least = mean.min(dim=-1, keepdim=True).values
    return -SHARPNESS * (mean - least) / mean.mean(dim=-1, keepdim=True).clamp(min=1e-9)


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """The softened weighted median of the last axis; weights sum to 1 and are broadcast: [...].

    The mean of the weighted quantile function under a biweight density around one half, SOFTNESS wide: an L-statistic. It changes
    smoothly where the median jumps, order among equals does not matter, and what lies further out has no say at all.
    """
    ordered, places = torch.sort(values, dim=-1)
    reached = torch.gather(weights.expand_as(values), -1, places).cumsum(dim=-1)
    upto = _density(reached)
    before = torch.cat([torch.zeros_like(upto[..., :1]), upto[..., :-1]], dim=-1)
    return (ordered * (upto - before)).sum(dim=-1) / upto[..., -1]


def _density(share: Tensor) -> Tensor:
    """The biweight's distribution function at a share of all weight, 15/16 (u - 2u^3/3 + u^5/5) + 1/2."""
    u = ((share - 0.5) / SOFTNESS).clamp(-1.0, 1.0)
    return 15 / 16 * (u - 2 / 3 * u**3 + u**5 / 5) + 0.5
