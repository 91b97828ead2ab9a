"""Analogs: what followed the places of the last week that looked most like the present.

A nearest-neighbour forecast (Lorenz, 1969, "Atmospheric predictability as revealed by naturally occurring analogues"): the
last steps are laid over each place of the week, places are ranked by the sum of absolute differences, and step by step the median of
what followed the nearest ones is forecast. It finds bursts that come back at no fixed hour, which no seasonal shape does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LENGTHS = (12, 24, 48)  # steps that are compared one by one
HOURS = 24  # hours that are compared by their means
NEAREST = (5, 15)  # analogs whose median is a forecast; odd
APART = 6  # steps: of so many places that lie side by side the nearest counts
RECENCY = 2.0**-38  # a step, of the distance in float64: below what tells two float32 apart in a week of 2 ** 13 steps
_NEARLY = 1e-30  # a distance of 0 has an age too


class Analogs(nn.Module):
    """Forecasts of a week [..., week] without NaN: [..., horizon, len(names)]; none where the week has too few places."""

    def __init__(self, week: int, horizon: int, hour: int) -> None:
        super().__init__()
        self.horizon = horizon
        wanted = [(1, length) for length in LENGTHS] + ([(hour, HOURS)] if hour > 1 else [])
        room = week - horizon - APART * max(NEAREST)
        self.kinds = [(width, count) for width, count in wanted if width * count <= room]
        self.names = [
            f"median of what followed {nearest} analogs of {width * count} steps"
            for width, count in self.kinds
            for nearest in NEAREST
        ]
        self.register_buffer("steps", torch.arange(horizon), persistent=False)

    steps: Tensor

    def forward(self, week: Tensor) -> Tensor:
        made = [week.new_empty(*week.shape[:-1], self.horizon, 0)]
        for width, count in self.kinds:
            followed = self._followed(week, nearest_places(_means(week, width), self.horizon, width, count))
            made += [torch.sort(followed[..., :n, :], dim=-2).values[..., n // 2, :].unsqueeze(-1) for n in NEAREST]
        return torch.cat(made, dim=-1)

    def _followed(self, week: Tensor, places: Tensor) -> Tensor:
        """The horizon after each place, [..., places, horizon]."""
        steps = (places.unsqueeze(-1) + self.steps).flatten(-2)
        return week.gather(-1, steps).unflatten(-1, (places.shape[-1], self.horizon))


def _means(week: Tensor, width: int) -> Tensor:
    """The mean of each `width` steps, one for each step they end at: [..., week - width + 1]."""
    if width == 1:
        return week
    means = nn.functional.avg_pool1d(week.reshape(-1, 1, week.shape[-1]), width, stride=1)
    return means.reshape(*week.shape[:-1], week.shape[-1] - width + 1)


def nearest_places(values: Tensor, horizon: int, width: int, count: int) -> Tensor:
    """Return the step of the week after each of the nearest analogs, nearest first: [..., max(NEAREST)].

    values [..., N] as of `_means`; what is compared is `count` of them, `width` apart, the last one the present. A whole horizon follows
    each place.
    """
    size = values.shape[-1]
    apart = torch.zeros_like(values[..., : size - horizon])
    for number in range(count):
        back = width * number
        present = values[..., size - 1 - back : size - back]
        kept = apart[..., width:] if number else apart
        apart = kept + (values[..., : size - horizon - back] - present).abs()
    # Of equals the latest, whatever the unit: which of them a top-k takes first is another matter in torch and in ONNX Runtime.
    age = torch.arange(apart.shape[-1], 0, -1, dtype=torch.float64, device=values.device)
    apart = apart.double() + _NEARLY
    apart = apart + apart * (RECENCY * age)  # not times 1 + …, which the exporter would round to float32, that is to 1
    first = apart.shape[-1] % APART
    groups = apart[..., first:].unflatten(-1, (-1, APART))
    least, within = groups.min(dim=-1)
    chosen = torch.topk(least, max(NEAREST), dim=-1, largest=False).indices
    return first + chosen * APART + within.gather(-1, chosen) + width * count
