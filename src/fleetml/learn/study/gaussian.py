"""A Gaussian process over points of [0, 1]^d, some axes of which are choices: Matérn 5/2, a length a dimension, fitted by MAP.

Rasmussen & Williams 2006, chapters 2 and 5 (marginal likelihood and its gradient). A choice is as far from any other one.
Hundreds of points at most: O(n^3).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr

Floats = npt.NDArray[np.float64]
# Means and deviations of the priors of the logarithms: weights (1 / length^2), amplitude, noise
_WEIGHT, _AMPLITUDE, _NOISE = (math.log(2.0), 1.5), (0.0, 1.0), (math.log(1e-3), 1.5)
_BOUNDS = ((-7.0, 7.0), (-4.0, 4.0), (-12.0, 1.0))
_ROOT5 = math.sqrt(5.0)


class Gaussian:
    """Fitted to `points` [n, d] and `values` [n], standardised here, or with the `parameters` of another one."""

    def __init__(
        self, points: Floats, values: Floats, choice: npt.NDArray[np.bool_], parameters: Floats | None = None
    ) -> None:
        self.points, self.choice = points, choice
        self.mean, self.scale = float(values.mean()), float(values.std()) or 1.0
        self.values = (values - self.mean) / self.scale
        self._apart = _apart(points, points, choice)
        self.parameters = self._fitted() if parameters is None else parameters
        self._factor, self._alpha = self._solved(self.parameters)

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Return the mean and the standard deviation at points [m, d], of the standardised values."""
        weights, amplitude, _ = _split(self.parameters)
        across, _ = _matern(np.tensordot(weights, _apart(points, self.points, self.choice), 1))
        across = amplitude * across
        mean = across @ self._alpha
        half = solve_triangular(self._factor, across.T, lower=True)
        return mean, np.sqrt(np.maximum(amplitude - (half**2).sum(0), 1e-12))

    def _fitted(self) -> Floats:
        dimensions = self.points.shape[1]
        start, _ = _priors(dimensions)
        bounds = [_BOUNDS[0]] * dimensions + [*_BOUNDS[1:]]
        found: Any = minimize(self._loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 50})
        return np.asarray(found.x, dtype=np.float64)

    def _loss(self, parameters: Floats) -> tuple[float, Floats]:
        """Return the negative log posterior and its gradient."""
        weights, amplitude, noise = _split(parameters)
        kernel, slope = _matern(np.tensordot(weights, self._apart, 1))
        covariance = amplitude * kernel + noise * np.eye(len(kernel))
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return 1e25, np.zeros_like(parameters)
        alpha = cho_solve((factor, True), self.values)
        inner = cho_solve((factor, True), np.eye(len(kernel))) - np.outer(alpha, alpha)
        loss = 0.5 * self.values @ alpha + np.log(np.diag(factor)).sum()
        by_weight = 0.5 * amplitude * weights * np.tensordot(self._apart, inner * slope, axes=([1, 2], [0, 1]))
        gradient = np.append(by_weight, [0.5 * amplitude * (inner * kernel).sum(), 0.5 * noise * np.trace(inner)])
        means, deviations = _priors(len(weights))
        apart = (parameters - means) / deviations
        return float(loss + 0.5 * (apart**2).sum()), gradient + apart / deviations

    def _solved(self, parameters: Floats) -> tuple[Floats, Floats]:
        weights, amplitude, noise = _split(parameters)
        kernel, _ = _matern(np.tensordot(weights, self._apart, 1))
        factor = np.linalg.cholesky(amplitude * kernel + (noise + 1e-9) * np.eye(len(kernel)))
        return np.asarray(factor), np.asarray(cho_solve((factor, True), self.values))


def log_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Return the logarithm of the expected improvement below `best` (Jones et al. 1998), stable far from it."""
    gain = (best - mean) / deviation
    density = np.exp(-0.5 * gain**2) / math.sqrt(2 * math.pi)
    expected = gain * ndtr(gain) + density
    # Far below, gain * Phi + phi is about phi / gain^2
    far = -0.5 * gain**2 - 0.5 * math.log(2 * math.pi) - 2 * np.log(np.maximum(-gain, 1.0))
    return np.log(deviation) + np.where(gain > -6.0, np.log(np.maximum(expected, 1e-300)), far)


def log_probability(mean: Floats, deviation: Floats, most: float) -> Floats:
    """Return the logarithm of the probability that a value is at most `most`."""
    return np.asarray(log_ndtr((most - mean) / deviation))


def _priors(dimensions: int) -> tuple[Floats, Floats]:
    both = np.array([_WEIGHT] * dimensions + [_AMPLITUDE, _NOISE])
    return both[:, 0], both[:, 1]


def _split(parameters: Floats) -> tuple[Floats, float, float]:
    natural = np.exp(parameters)
    return natural[:-2], float(natural[-2]), float(natural[-1])


def _apart(a: Floats, b: Floats, choice: npt.NDArray[np.bool_]) -> Floats:
    """Return the squared distances [d, n, m] along each axis; 0 or 1 between choices."""
    apart = a.T[:, :, None] - b.T[:, None, :]
    return np.where(choice[:, None, None], apart != 0, apart**2)


def _matern(squared: Floats) -> tuple[Floats, Floats]:
    """Return Matérn 5/2 of squared distances, and its derivative by them."""
    distance = _ROOT5 * np.sqrt(squared)
    decay = np.exp(-distance)
    return (1 + distance + distance**2 / 3) * decay, -5 / 6 * (1 + distance) * decay
