"""A fitted power model: JSON to and from, and predictions, by the standard library alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from operator import mul
from typing import Any

from fleetml.cost.power.rows import Value
from fleetml.cost.power.terms import Term
from fleetml.errors import InvalidData
from fleetml.frozen import frozen

FORMAT = "fleetml-power/1"


@frozen
class Prediction:
    """Power [W]: expected, the interval of what is expected (`low`, `high`), and of one measurement (`least`, `most`).

    beyond: the features that lie outside what was measured; the intervals do not cover that.
    """

    watts: float
    low: float
    high: float
    least: float
    most: float
    beyond: tuple[str, ...] = ()


@frozen(kw_only=True)
class PowerModel:
    """Watts = coefficients · (1, terms), never below 0.

    draws: the coefficients of each draw of the bootstrap; noise: for each a leave-one-out residual [W]. level: of the intervals.
    ranges, words: what was measured of each feature that the terms need. rows: measurements. mae [W], r2: leave-one-out.
    """

    kind: str
    terms: tuple[Term, ...]
    coefficients: tuple[float, ...]
    draws: tuple[tuple[float, ...], ...]
    noise: tuple[float, ...]
    ranges: Mapping[str, tuple[float, float]]
    words: Mapping[str, tuple[str, ...]]
    rows: int
    mae: float
    r2: float
    level: float = 0.95

    def predict(self, features: Mapping[str, Value]) -> Prediction | None:
        """Return the power of these features, None where one that the terms need is not known, or a word was not measured."""
        if any(features.get(name) not in known for name, known in self.words.items()):
            return None
        if any(not isinstance(features.get(name), (int, float)) for name in self.ranges):
            return None
        values = (1.0, *(term.value(features) for term in self.terms))
        means = [sum(map(mul, draw, values)) for draw in self.draws]
        tail = (1 - self.level) / 2
        low, high = quantiles(means, (tail, 1 - tail))
        least, most = quantiles(list(map(float.__add__, means, self.noise)), (tail, 1 - tail))
        watts = sum(map(mul, self.coefficients, values))
        expected, low, high, least, most = map(_from_zero, (watts, min(low, watts), max(high, watts), least, most))
        return Prediction(expected, low, high, least, most, self._beyond(features))

    def _beyond(self, features: Mapping[str, Value]) -> tuple[str, ...]:
        spans = self.ranges.items()
        return tuple(name for name, (least, most) in spans if not least <= float(features[name] or 0.0) <= most)

    def to_json(self) -> str:
        """Return the model as JSON; numbers to 9 digits."""
        content = {
            "format": FORMAT,
            "kind": self.kind,
            "terms": [{"numbers": list(it.numbers), "words": dict(it.words)} for it in self.terms],
            "coefficients": list(self.coefficients),
            "draws": [[_short(each) for each in draw] for draw in self.draws],
            "noise": [_short(each) for each in self.noise],
            "ranges": {name: list(span) for name, span in self.ranges.items()},
            "words": {name: list(known) for name, known in self.words.items()},
            "rows": self.rows,
            "mae": self.mae,
            "r2": self.r2,
            "level": self.level,
        }
        return json.dumps(content, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, place: str = "the power model") -> PowerModel:
        """Return the model of `to_json`. Raises InvalidData for anything else."""
        try:
            return _read(json.loads(text))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidData(
                f"a power model is JSON of format {FORMAT}, got {place}, which is none ({error!r}); fit it again"
            ) from error


def quantiles(values: Sequence[float], shares: Sequence[float]) -> list[float]:
    """Return the values below which these shares of all lie, with straight lines between neighbours, as numpy does."""
    ordered = sorted(values)
    found = []
    for share in shares:
        place = share * (len(ordered) - 1)
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        found.append(ordered[below] + (ordered[above] - ordered[below]) * (place - below))
    return found


def _read(content: Mapping[str, Any]) -> PowerModel:
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r}")
    terms = tuple(Term(tuple(it["numbers"]), tuple(it["words"].items())) for it in content["terms"])
    draws = tuple(_numbers(draw, len(terms) + 1) for draw in content["draws"])
    return PowerModel(
        kind=str(content["kind"]),
        terms=terms,
        coefficients=_numbers(content["coefficients"], len(terms) + 1),
        draws=draws,
        noise=_numbers(content["noise"], len(draws)),
        ranges={str(name): (float(span[0]), float(span[1])) for name, span in content["ranges"].items()},
        words={str(name): tuple(map(str, known)) for name, known in content["words"].items()},
        rows=int(content["rows"]),
        mae=float(content["mae"]),
        r2=float(content["r2"]),
        level=_share(content["level"]),
    )


def _share(value: Any) -> float:
    if not 0 < float(value) < 1:
        raise ValueError(f"level {value!r} is not between 0 and 1")
    return float(value)


def _numbers(values: Sequence[Any], count: int) -> tuple[float, ...]:
    found = tuple(float(value) for value in values)
    if len(found) != count or not found or not all(map(math.isfinite, found)):
        raise ValueError(f"{len(found)} numbers where {count} finite ones are due")
    return found


def _from_zero(watts: float) -> float:
    return max(0.0, watts)


def _short(value: float) -> float:
    return float(f"{value:.9g}")
