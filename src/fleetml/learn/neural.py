"""The neural forecasters: torch modules that take a raw history and give a forecast in the target's unit.

Everything a graph needs is in `forward`, so that what is trained is what is exported and served. A history
is centred on the median of its last six hours and divided by its mean absolute deviation; the body sees
a symmetric logarithm of that, which tames bursts of a thousand deviations and keeps INT8 ranges narrow. The
forecast is a convex blend of robust naive forecasts (last value, medians, quantiles, the season before) whose
weights the body chooses step by step, plus a residual. So an untrained body already gives a blend of them, and
no burst can throw the forecast further than the residual reaches.
"""

import torch
from torch import Tensor, nn

from fleetml.errors import InvalidParameter
from fleetml.learn.architectures import Architecture
from fleetml.learn.baselines import seasonal_steps
from fleetml.learn.neural_bodies import BODIES
from fleetml.learn.windows import Meta

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
MEDIANS = (12, 36, 72)  # steps
SMOOTHING = 13  # steps, odd: the moving average of the season before
# The sum of deviations below which a history counts as constant, as a share of its level.
FLOOR = 1e-3


def symlog(values: Tensor) -> Tensor:
    """sign(x) log(1 + |x|): near zero the identity, far away a logarithm."""
    return torch.sign(values) * torch.log1p(values.abs())


class NaiveForecasts(nn.Module):
    """Robust forecasts of a history [batch, context]: [batch, horizon, count]; level and spread [batch, 1]."""

    season_steps: Tensor

    def __init__(self, meta: Meta) -> None:
        super().__init__()
        self.context, self.horizon = meta.context, meta.horizon
        self.register_buffer("season_steps", torch.from_numpy(seasonal_steps(meta)), persistent=False)
        self.medians = [n for n in MEDIANS if n < meta.context]
        self.count = 2 + 1 + len(self.medians) + len(QUANTILES)

    def forward(self, history: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ordered = torch.sort(history, dim=1).values
        quantiles = [self._rank(ordered, self.context, q) for q in QUANTILES]
        medians = [self._rank(torch.sort(history[:, -n:], dim=1).values, n, 0.5) for n in self.medians]
        level = medians[-1] if medians else quantiles[2]
        spread = (history - level).abs().mean(dim=1, keepdim=True) + FLOOR * level.abs() + 1e-6
        flat = torch.cat([history[:, -1:], *medians, *quantiles], dim=1)
        edge = SMOOTHING // 2
        padded = torch.cat([history[:, :1].expand(-1, edge), history, history[:, -1:].expand(-1, edge)], dim=1)
        smooth = nn.functional.avg_pool1d(padded.unsqueeze(1), SMOOTHING, stride=1).squeeze(1)
        seasonal = torch.stack([torch.index_select(s, 1, self.season_steps) for s in (history, smooth)], dim=2)
        naive = torch.cat([seasonal, flat.unsqueeze(1).expand(-1, self.horizon, -1)], dim=2)
        return naive, level, spread

    @staticmethod
    def _rank(ordered: Tensor, count: int, quantile: float) -> Tensor:
        place = round(quantile * (count - 1))
        return ordered[:, place : place + 1]


class Network(nn.Module):
    """history [batch, context], covariates [batch, C] (NaN: absent) → forecast [batch, horizon], never negative."""

    def __init__(self, meta: Meta, architecture: Architecture) -> None:
        super().__init__()
        if architecture.family not in BODIES:
            raise InvalidParameter(
                f"a neural family must be one of {sorted(BODIES)}, got {architecture.family!r}; choose one of them"
            )
        self.family, self.architecture = architecture.family, architecture
        self.naive = NaiveForecasts(meta)
        self.body = BODIES[architecture.family](meta.context, architecture)
        self.horizon = meta.horizon
        wide = self.body.width + 2 * len(meta.covariates) + 2
        self.mix = nn.Sequential(nn.Linear(wide, architecture.width), nn.ReLU())
        self.blend = nn.Linear(architecture.width, meta.horizon * self.naive.count)
        self.residual = nn.Linear(architecture.width, meta.horizon)
        for head in (self.blend, self.residual):
            nn.init.zeros_(head.bias)
            nn.init.normal_(head.weight, std=1e-3)

    def forward(self, history: Tensor, covariates: Tensor) -> Tensor:
        naive, level, spread = self.naive(history)
        body = self.body(symlog((history - level) / spread))
        present = (~torch.isnan(covariates)).to(history.dtype)
        known = symlog(torch.where(torch.isnan(covariates), torch.zeros_like(covariates), covariates))
        size = torch.cat([torch.log1p(level.abs()), torch.log1p(spread)], dim=1)
        hidden = self.mix(torch.cat([body, known * 0.1, present, size * 0.1], dim=1))
        weights = torch.softmax(self.blend(hidden).reshape(-1, self.horizon, self.naive.count), dim=2)
        forecast = (weights * naive).sum(dim=2) + self.residual(hidden) * spread
        return torch.relu(forecast)
