"""Fits power models: ridge regression in closed form, chosen by leave-one-out, with intervals by a Bayesian bootstrap.

Leaving row i out changes its residual from e_i to e_i / (1 - h_i), h the diagonal of the hat matrix (Allen's PRESS), so no model is
fitted twice. The bootstrap weighs rows by a Dirichlet distribution (Rubin 1981) instead of drawing some twice and others not at all:
with 5 rows no draw is singular. All draws are solved at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from fleetml.cost.power import terms
from fleetml.cost.power.model import PowerModel
from fleetml.cost.power.rows import Row
from fleetml.cost.power.terms import Term
from fleetml.errors import InvalidData, InvalidParameter, nearest
from fleetml.frozen import frozen

Array = npt.NDArray[np.float64]

LEAST_ROWS = 3
AUTO = "auto"
_PENALTIES = (0.3, 1.0, 3.0, 10.0)
"""Of ridge, on terms of variance 1: as much as so many rows say that a term does nothing. Chosen by leave-one-out."""
_PLAIN = 1e-8
"""The penalty of models of streams, which are least squares: it moves nothing that can be seen and keeps draws solvable."""
_NEARLY = 1.1
_AT_ONCE = 4_000_000
"""Products of terms that are held at once; where there are more, draws are summed one by one."""


@frozen
class Kind:
    """A kind of model: its terms, and whether its coefficients are shrunk."""

    terms: Callable[[Sequence[Row]], tuple[Term, ...]]
    shrunk: bool = False


KINDS = {
    "load": Kind(terms.load, True),
    "streams": Kind(terms.of_streams),
    "mean": Kind(lambda rows: ()),
    "additive": Kind(terms.additive, True),
    "interacting": Kind(terms.interacting, True),
}
"""In the order in which they are taken where leave-one-out hardly tells them apart: power follows the work that is done."""


@frozen
class _Fitted:
    """Terms that vary, their values (rows x terms), penalty, leave-one-out residuals [W]."""

    kind: str
    terms: tuple[Term, ...]
    values: Array
    penalty: float
    residuals: Array

    @property
    def error(self) -> float:
        return float(np.sqrt(np.mean(self.residuals**2)))


def fit(rows: Sequence[Row], kind: str = AUTO, draws: int = 200, level: float = 0.95, seed: int = 0) -> PowerModel:
    """Return the model of a kind, or of the kind with the smallest leave-one-out error (see `choose`).

    "streams", where it is asked for, is fitted to the rows whose streams were counted, unless these are fewer than three.
    Raises InvalidData for fewer than three rows or power that is none, InvalidParameter for an unknown kind.
    """
    counted = [row for row in rows if row.counted]
    if kind == "streams" and len(counted) >= LEAST_ROWS:
        rows = counted
    watts = _checked(rows)
    if kind not in (*KINDS, AUTO):
        known = ", ".join([AUTO, *KINDS])
        raise InvalidParameter(f"a power model is one of {known}, got {kind!r}{nearest(kind, KINDS)}")
    fitted = choose(rows, watts) if kind == AUTO else _fitted(kind, rows, watts)
    rng = np.random.default_rng(seed)
    coefficients = _solve(fitted.values, watts, np.ones((1, len(rows))), fitted.penalty)[0]
    weights = rng.standard_exponential((draws, len(rows)))  # divided by their sum: a Dirichlet distribution
    weights *= len(rows) / weights.sum(1, keepdims=True)
    return PowerModel(
        kind=fitted.kind,
        terms=fitted.terms,
        coefficients=tuple(coefficients.tolist()),
        draws=tuple(map(tuple, _solve(fitted.values, watts, weights, fitted.penalty).tolist())),
        noise=tuple((rng.standard_t(len(rows) - 1, draws) * fitted.error).tolist()),
        ranges=_ranges(fitted.terms, rows),
        words=_measured(fitted.terms, rows),
        rows=len(rows),
        mae=float(np.abs(fitted.residuals).mean()),
        r2=r2(watts, watts - fitted.residuals),
        level=level,
    )


def choose(rows: Sequence[Row], watts: Array) -> _Fitted:
    """Return the fit of the kind with the smallest leave-one-out error; of those within a tenth the first of `KINDS`."""
    found = [_fitted(kind, rows, watts) for kind in KINDS]
    least = min(it.error for it in found)
    return next(it for it in found if it.error <= _NEARLY * least)


def r2(measured: Array, predicted: Array) -> float:
    """Return 1 - squared error / that of the mean; 0 where nothing varies. Below 0: worse than the mean."""
    spread = float(((measured - measured.mean()) ** 2).sum())
    return 1 - float(((measured - predicted) ** 2).sum()) / spread if spread > 0 else 0.0


def design(found: Sequence[Term], rows: Sequence[Row]) -> Array:
    """Return the values of the terms, rows x terms: `Term.value` of all rows at once."""
    values = np.ones((len(rows), len(found)))
    numbers = {name: _column(rows, name) for term in found for name in term.numbers}
    words = {name: np.array([row.features[name] for row in rows]) for term in found for name, _ in term.words}
    for column, term in enumerate(found):
        for name in term.numbers:
            values[:, column] *= numbers[name]
        for name, word in term.words:
            values[:, column] *= words[name] == word
    return values


def _column(rows: Sequence[Row], name: str) -> Array:
    return np.array([row.features[name] for row in rows], dtype=np.float64)


def _fitted(kind: str, rows: Sequence[Row], watts: Array) -> _Fitted:
    every = KINDS[kind].terms(rows)
    if kind == "streams" and any(not isinstance(row.features.get("streams"), (int, float)) for row in rows):
        every = ()
    values = design(every, rows)
    varies = values.std(0) > 1e-9 * np.abs(values).max(0, initial=0.0)
    kept, values = tuple(term for term, it in zip(every, varies, strict=True) if it), values[:, varies]
    penalties = _PENALTIES if KINDS[kind].shrunk else (_PLAIN,)
    residuals = _left_out(values, watts, penalties)
    best = int(np.argmin((residuals**2).sum(1)))
    return _Fitted(kind, kept, values, penalties[best], residuals[best])


def _left_out(values: Array, watts: Array, penalties: Sequence[float]) -> Array:
    """Return the leave-one-out residuals of each penalty, penalties x rows."""
    count = len(watts)
    centred = watts - watts.mean()
    u, s, _ = np.linalg.svd(_standard(values)[0], full_matrices=False)
    shrink = s**2 / (s**2 + np.array(penalties)[:, None])  # penalties x terms
    residuals = centred - (shrink * (u.T @ centred)) @ u.T
    leverage = 1 / count + shrink @ (u.T**2)
    return np.asarray(residuals / np.maximum(1 - leverage, 1e-3))


def _standard(values: Array) -> tuple[Array, Array, Array]:
    mean, scale = values.mean(0), values.std(0)
    return (values - mean) / scale, mean, scale


def _solve(values: Array, watts: Array, weights: Array, penalty: float) -> Array:
    """Return the coefficients, the intercept first, of each row of weights (draws x rows): draws x (1 + terms)."""
    standard, mean, scale = _standard(values)
    x = np.column_stack([np.ones(len(watts)), standard])
    shrink = np.diag(np.r_[0.0, np.full(values.shape[1], penalty)])
    found = np.linalg.solve(_squares(x, weights) + shrink, (weights @ (x * watts[:, None]))[:, :, None])[:, :, 0]
    slopes = found[:, 1:] / scale
    return np.column_stack([found[:, 0] - slopes @ mean, slopes])


def _squares(x: Array, weights: Array) -> Array:
    """Return x' diag(w) x of each row of weights: draws x terms x terms."""
    count, width = x.shape
    if count * width**2 > _AT_ONCE:
        return np.stack([(x * each[:, None]).T @ x for each in weights])
    return (weights @ (x[:, :, None] * x[:, None, :]).reshape(count, -1)).reshape(-1, width, width)


def _checked(rows: Sequence[Row]) -> Array:
    watts = np.array([row.watts for row in rows], dtype=np.float64)
    if len(rows) < LEAST_ROWS:
        raise InvalidData(f"a power model needs {LEAST_ROWS} measurements, got {len(rows)}; measure more scenarios")
    if not (np.isfinite(watts) & (watts > 0)).all():
        wrong = next(row.watts for row in rows if not 0 < row.watts < float("inf"))
        raise InvalidData(f"measured power is above 0 W, got {wrong}; leave that measurement out")
    return watts


def _ranges(found: Sequence[Term], rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    names = sorted({name for term in found for name in term.numbers})
    spans = {name: [float(row.features[name] or 0.0) for row in rows] for name in names}
    return {name: (min(span), max(span)) for name, span in spans.items()}


def _measured(found: Sequence[Term], rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    names = sorted({name for term in found for name, _ in term.words})
    return {name: tuple(sorted({str(row.features[name]) for row in rows})) for name in names}
