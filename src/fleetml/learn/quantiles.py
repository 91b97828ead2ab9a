"""Quantiles of what several forecasts say, weighed: smoothed weighted quantiles, of which the median is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = tuple(round(0.1 * place, 1) for place in range(1, 10))


def quantile(ordered: Tensor, reached: Tensor, level: float, softness: float) -> Tensor:
    """The smoothed weighted quantile of the last axis: [...].

    `ordered` rises, `reached` is the share of all weight up to each and with it. The mean of the weighted quantile function under a
    biweight density around `level`, `softness` wide: an L-statistic. It changes smoothly where the quantile itself jumps, order
    among equals does not matter, and what lies further out has no say at all.
    """
    import torch

    upto = _density((reached - level) / softness)
    nothing = _density(torch.full_like(reached[..., :1], -level / softness))
    before = torch.cat([nothing, upto[..., :-1]], dim=-1)
    return (ordered * (upto - before)).sum(dim=-1) / (upto[..., -1] - nothing[..., 0])


def _density(place: Tensor) -> Tensor:
    """The biweight's distribution function, 15/16 (u - 2u^3/3 + u^5/5) + 1/2, 0 below -1 and 1 above 1."""
    u = place.clamp(-1.0, 1.0)
    return 15 / 16 * (u - 2 / 3 * u**3 + u**5 / 5) + 0.5


def rising(found: Sequence[Tensor], levels: Sequence[float], forecast: Tensor) -> Tensor:
    """Return quantiles [..., Q] that rise, are never negative, and are the forecast at .5."""
    import torch

    made: list[Tensor] = []
    for level, value in zip(levels, found, strict=True):
        kept = torch.minimum(value, forecast) if level < 0.5 else torch.maximum(value, forecast)
        kept = forecast if level == 0.5 else torch.relu(kept)
        made.append(torch.maximum(made[-1], kept) if made else kept)
    return torch.stack(made, dim=-1)
