"""Quantiles of a forecast: those of its own past errors, added to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LEVELS = tuple(round(0.1 * place, 1) for place in range(1, 10))
_FAR = 3e38  # sorts missing errors behind all others


class ResidualQuantiles(nn.Module):
    """Around a forecast the quantiles of what the same forecaster missed by lately; the one of .5 is the forecast itself.

    history [batch, context], NaN: missing; `places` where `before` [batch, past, reach] was forecast;
    forecast [batch, horizon] → [batch, horizon, Q], rising along Q, never negative.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__()
        self.levels = tuple(levels)

    def forward(self, history: Tensor, places: Sequence[int], before: Tensor, forecast: Tensor) -> Tensor:
        reach = before.shape[2]
        actual = torch.stack([history[:, place : place + reach] for place in places], dim=1)
        apart = (actual - before).flatten(1)
        missing = torch.isnan(apart)
        ordered = torch.sort(torch.where(missing, torch.full_like(apart, _FAR), apart), dim=1).values
        last = ((~missing).to(apart.dtype).sum(dim=1, keepdim=True) - 1).clamp(min=0)
        found = [self._of(ordered, last, level) for level in self.levels]
        for place in range(1, len(found)):  # rounding must not turn two of them around
            found[place] = torch.maximum(found[place - 1], found[place])
        offsets = torch.cat(found, dim=1) * (last > 0).to(apart.dtype)
        return torch.relu(forecast.unsqueeze(-1) + offsets.unsqueeze(1))

    def _of(self, ordered: Tensor, last: Tensor, level: float) -> Tensor:
        """The quantile [batch, 1] of the first `last` + 1, at most 0 below .5, at least 0 above, 0 at .5."""
        place = last * level
        low = torch.floor(place)
        share = place - low
        lower = torch.gather(ordered, 1, low.to(torch.int64))
        upper = torch.gather(ordered, 1, torch.minimum(low + 1, last).to(torch.int64))
        found = lower * (1 - share) + upper * share
        if level == 0.5:
            return torch.zeros_like(found)
        return found.clamp(max=0.0) if level < 0.5 else found.clamp(min=0.0)
