"""Naive forecasts and what each would have been worth lately: the bank that the family `mixture` weighs.

All of it is torch on [batch, ...] and is exported as it is, so training, validation and serving compute the same. An
expert needs a week of steps. The history is a week and, before its end, the windows that the experts are tried on: at each
of `past` places, `stride` steps apart, each forecasts from the week before it, and its MAE over the `reach` steps
that follow tells how it does on this VM now. Steps that are missing (NaN) are filled for the experts, never scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fleetml.errors import InvalidParameter
from fleetml.learn.analogs import Analogs
from fleetml.learn.windows import Meta

QUANTILES = (0.1, 0.25, 0.75, 0.9)  # of a day
DAYS = (3, 5, 7)  # how many days before, whose median at that time of day
HOURS = (6, 24)  # how many hours before, whose median at that minute of the hour
SHORT = (3, 6, 12)  # steps whose median is a forecast, and in seasons:
LONG = (1 / 8, 1 / 4, 1, 7)
PRESENT = 12  # steps whose median is the present level
FADE = 0.97  # a step: how much of what the present level differs by stays
SMOOTHING = 0.3  # of the exponential moving average of a day
_WEEK = 7  # seasons


_LEVELLED = (
    "median of 7 days at the present level",
    "median of 7 days, the present level fading",
    "between the median of 7 days and the present level",
    "day before at the present level",
    "lower quartile of 7 days",
    "median of 7 days, smoothed",
    "moving average of a day",
)


@dataclass(frozen=True)
class Memory:
    """Where the experts are tried: at `past` places, `stride` steps apart, on the `reach` steps that follow each."""

    past: int = 6
    stride: int = 48
    reach: int = 48

    @property
    def steps(self) -> int:
        """Steps from the first of these places to the origin."""
        return (self.past - 1) * self.stride + max(self.stride, self.reach)

    def context(self, season: int) -> int:
        """Return the steps of history that are needed."""
        return _WEEK * season + self.steps


class Experts(nn.Module):
    """Forecasts of a week [..., 7 seasons] without NaN: [..., horizon, count], in the order of `names`."""

    def __init__(self, meta: Meta) -> None:
        super().__init__()
        self.season, self.horizon = meta.season, meta.horizon
        self.week = _WEEK * meta.season
        self.hour = 3600 // meta.step_seconds
        self.analogs = Analogs(self.week, meta.horizon, self.hour)
        whole = set(SHORT) | {max(1, round(share * meta.season)) for share in LONG}
        self.medians = sorted(whole)
        self.hours = [n for n in HOURS if self.hour > 1 and n * self.hour <= self.week]
        self.register_buffer("day_steps", torch.arange(meta.horizon) % meta.season, persistent=False)
        self.register_buffer("week_steps", torch.arange(meta.horizon) % self.week, persistent=False)
        self.register_buffer("hour_steps", torch.arange(meta.horizon) % max(self.hour, 1), persistent=False)
        self.register_buffer("fade", FADE ** torch.arange(1.0, meta.horizon + 1), persistent=False)
        recent = SMOOTHING * (1 - SMOOTHING) ** torch.arange(meta.season - 1.0, -1, -1)
        self.register_buffer("recent", recent / recent.sum(), persistent=False)
        self.edge = meta.season // 48  # steps on each side of the moving average of the seasons
        self.names = (
            ["last", "day before", "week before"]
            + [f"median of {n} steps" for n in self.medians]
            + [f"quantile {q} of a day" for q in QUANTILES]
            + [f"median of {n} days" for n in DAYS]
            + [f"median of {n} hours" for n in self.hours]
            + list(_LEVELLED)
            + self.analogs.names
        )
        self.count = len(self.names)

    day_steps: Tensor
    week_steps: Tensor
    hour_steps: Tensor
    fade: Tensor
    recent: Tensor

    def forward(self, week: Tensor) -> Tensor:
        day = torch.sort(week[..., -self.season :], dim=-1).values
        flat = [week[..., -1:]]
        flat += [median(week[..., -n:]) for n in self.medians]
        flat += [rank(day, q * (self.season - 1)) for q in QUANTILES]
        seasonal = [week[..., -self.season :].index_select(-1, self.day_steps), week.index_select(-1, self.week_steps)]
        seasonal += [self._pattern(week, self.season, n).index_select(-1, self.day_steps) for n in DAYS]
        seasonal += [self._pattern(week, self.hour, n).index_select(-1, self.hour_steps) for n in self.hours]
        level = torch.cat(flat, dim=-1).unsqueeze(-2)
        level = level.expand([-1] * (level.dim() - 2) + [self.horizon, -1])
        shaped = torch.stack(seasonal, dim=-1)
        more = [self._levelled(week), self.analogs(week)]
        return torch.cat([level[..., :1], shaped[..., :2], level[..., 1:], shaped[..., 2:], *more], dim=-1)

    def _levelled(self, week: Tensor) -> Tensor:
        """The shape of a season at the level of the present, and what lies between them: [..., horizon, 7]."""
        days = week.unflatten(-1, (_WEEK, self.season)).transpose(-1, -2)
        ordered = torch.sort(days, dim=-1).values
        profile, quarter = ordered[..., _WEEK // 2], rank(ordered, 0.25 * (_WEEK - 1)).squeeze(-1)
        present = median(week[..., -PRESENT:])
        lift = present - median(profile[..., -PRESENT:])
        before = median(week[..., -self.season - PRESENT : -self.season])
        shape = profile.index_select(-1, self.day_steps)
        day = week[..., -self.season :]
        made = [
            shape + lift,
            shape + lift * self.fade,
            (shape + present) / 2,
            day.index_select(-1, self.day_steps) + present - before,
            quarter.index_select(-1, self.day_steps),
            self._smooth(week).index_select(-1, self.day_steps),
            (day * self.recent).sum(dim=-1, keepdim=True).expand_as(shape),
        ]
        return torch.stack(made, dim=-1)

    def _smooth(self, week: Tensor) -> Tensor:
        """The median over the days of the moving average, [..., season]."""
        padded = nn.functional.pad(week.reshape(-1, 1, self.week), (self.edge, self.edge), mode="replicate")
        smooth = nn.functional.avg_pool1d(padded, 2 * self.edge + 1, stride=1).reshape(week.shape)
        return self._pattern(smooth, self.season, _WEEK)

    @staticmethod
    def _pattern(week: Tensor, period: int, count: int) -> Tensor:
        """The median of the last `count` periods, step by step: [..., period]."""
        parts = week[..., -count * period :].unflatten(-1, (count, period))
        return median(parts.transpose(-1, -2)).squeeze(-1)


def median(values: Tensor) -> Tensor:
    """The median of the last axis, which stays with length 1; of an even number the mean of the middle two."""
    ordered = torch.sort(values, dim=-1).values
    return rank(ordered, 0.5 * (values.shape[-1] - 1))


def rank(ordered: Tensor, place: float) -> Tensor:
    """What stands at a place of an ordered last axis, linear between two of them: [..., 1]."""
    low = int(place)
    share = place - low
    if share < 1e-9:
        return ordered[..., low : low + 1]
    return ordered[..., low : low + 1] * (1 - share) + ordered[..., low + 1 : low + 2] * share


def fill(history: Tensor) -> Tensor:
    """Return [batch, steps] with each NaN replaced by the value before it, else the one after it, else 0.

    The reach doubles with each pass, so a gap of any length takes log2(steps) of them: ONNX has no running maximum.
    """
    filled = history
    for backwards in (False, True):
        step = 1
        while step < history.shape[1]:
            moved = nn.functional.pad(filled[:, step:], (0, step), value=float("nan"))
            if not backwards:
                moved = nn.functional.pad(filled[:, :-step], (step, 0), value=float("nan"))
            filled = torch.where(torch.isnan(filled), moved, filled)
            step *= 2
    return torch.nan_to_num(filled)


class Trials(nn.Module):
    """What the experts say now, said before, and how wrong that was.

    history [batch, context], NaN: missing → said [batch, horizon, K]; the error of each past place [batch, past, K], its MAE
    over what was measured; `known` [batch, past, 1], 0 where nothing was.
    """

    def __init__(self, meta: Meta, memory: Memory) -> None:
        super().__init__()
        if meta.context < memory.context(meta.season):
            raise InvalidParameter(
                f"the context of a mixture must be a week and the {memory.steps} steps its experts are tried on, "
                f"{memory.context(meta.season)} steps, got {meta.context}; give more, or a shorter memory"
            )
        self.experts = Experts(meta)
        self.reach = min(memory.reach, meta.horizon)
        span = self.experts.week
        first = meta.context - memory.steps
        self.places = [first + number * memory.stride for number in range(memory.past)] + [meta.context]
        self.begins = [place - span for place in self.places]

    def forward(self, history: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        filled = fill(history)
        weeks = torch.stack([filled[:, begin : begin + self.experts.week] for begin in self.begins], dim=1)
        said = self.experts(weeks)
        actual = torch.stack([history[:, place : place + self.reach] for place in self.places[:-1]], dim=1)
        measured = (~torch.isnan(actual)).to(history.dtype).unsqueeze(-1)
        past = said[:, :-1, : self.reach]
        apart = (past - torch.nan_to_num(actual).unsqueeze(-1)).abs() * measured
        counts = measured.sum(dim=2)
        errors = apart.sum(dim=2) / counts.clamp(min=1)
        return said[:, -1], errors, (counts > 0).to(history.dtype)
