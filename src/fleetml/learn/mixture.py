"""The family `mixture`: experts weighed by what they were worth lately on this VM, with quantiles.

Untrained it is arithmetic: weights exp(-SHARPNESS (e - least e) / mean e) of the experts' mean past errors e, the forecast their
weighted median step by step, the quantiles those of the mixture's own past errors around it. It has no parameter that
was fitted to data, so it needs no training windows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fleetml.learn.experts import Memory, Trials
from fleetml.learn.quantiles import LEVELS, ResidualQuantiles
from fleetml.learn.windows import Meta

SHARPNESS = 16.0


class Mixture(nn.Module):
    """history [batch, context], NaN: missing; covariates unused → forecast [batch, horizon], quantiles [batch, horizon, Q]."""

    family = "mixture"

    def __init__(self, meta: Meta, memory: Memory, sharpness: float = SHARPNESS) -> None:
        super().__init__()
        self.trials = Trials(meta, memory)
        self.spread = ResidualQuantiles(LEVELS)
        self.sharpness = sharpness

    def forward(self, history: Tensor, covariates: Tensor) -> tuple[Tensor, Tensor]:
        said, past, errors, known = self.trials(history)
        weights = torch.exp(self.log_weights(errors, known))
        forecast = torch.relu(weighted_median(said, weights.unsqueeze(1)))
        before = weighted_median(past, weights[:, None, None, :])
        return forecast, self.spread(history, self.trials.places[:-1], before, forecast)

    def log_weights(self, errors: Tensor, known: Tensor) -> Tensor:
        """The logarithm of the weight of each expert [batch, K], the best one's 0."""
        mean = (errors * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
        least = mean.min(dim=-1, keepdim=True).values
        return -self.sharpness * (mean - least) / mean.mean(dim=-1, keepdim=True).clamp(min=1e-9)


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """The least of the last axis at which half of the weight is reached; weights are broadcast: [...]."""
    ordered, places = torch.sort(values, dim=-1)
    reached = torch.gather(weights.expand_as(values), -1, places).cumsum(dim=-1)
    below = (reached < 0.5 * reached[..., -1:]).to(torch.int64).sum(dim=-1, keepdim=True)
    return torch.gather(ordered, -1, below).squeeze(-1)
