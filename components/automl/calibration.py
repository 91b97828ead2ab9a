"""Probabilities that mean what they say: one temperature for all (Guo et al., 2017), and how far off they were."""

import numpy as np

from components.automl.losses import LEAST, Said, Truth, log_loss

LEAST_GAIN = 1e-4


def scaled(said: Said, temperature: float) -> Said:
    """Return softmax(log p / T) of probabilities [N, C]."""
    raised = np.clip(said, LEAST, 1) ** (1 / temperature)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def temperature(said: Said, truth: Truth) -> float:
    """Return the T that lowers the log loss of probabilities most, 1 where it gains next to nothing."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: log_loss(truth, scaled(said, float(np.exp(log)))), bounds=(-1.6, 1.6), method="bounded"
    )
    best = float(np.exp(found.x))
    return best if log_loss(truth, scaled(said, best)) < log_loss(truth, said) - LEAST_GAIN else 1.0


def expected_error(said: Said, truth: Truth, parts: int = 10) -> float:
    """Return the expected calibration error: in tenths of the highest probability, its distance to the share that was right."""
    sure, right = said.max(axis=1), said.argmax(axis=1) == truth
    place = np.minimum((sure * parts).astype(int), parts - 1)
    gaps = [
        abs(sure[place == each].mean() - right[place == each].mean()) * (place == each).mean() for each in set(place)
    ]
    return float(sum(gaps))
