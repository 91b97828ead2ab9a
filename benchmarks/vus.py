"""VUS-PR: the volume under the surface of precision and recall over widths of a soft border around each anomaly.

Formulas from Paparrizos et al., "Volume under the surface: a new accuracy evaluation measure for time-series anomaly detection"
(VLDB 2022), sampled as TSB-AD 1.5 samples it (250 thresholds, each border from 0 to `border`); its figures are reproduced to 1e-6
by ``tests/benchmarks/test_vus.py``.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
THRESHOLDS = 250
_LAGS, _FIRST_LAG, _LONGEST, _USUAL, _READ = 400, 3, 300, 125, 20_000


def vus_pr(labels: npt.ArrayLike, score: npt.ArrayLike, border: int) -> float:
    """Return the VUS-PR of `score` [N] (more is more of an anomaly) for `labels` [N]; `border` is the widest, in steps.

    Raises ValueError where there is no anomaly or a score is not finite.
    """
    truth, said = np.asarray(labels).astype(bool), np.asarray(score, np.float64)
    if not truth.any() or not np.isfinite(said).all() or truth.shape != said.shape:
        raise ValueError(
            f"labels and score must be finite, of one length, with an anomaly, got {truth.shape}, {said.shape}"
        )
    runs = _runs(truth)
    ranks = np.linspace(0, len(said) - 1, THRESHOLDS).astype(int)
    thresholds = -np.sort(-said)[ranks]
    first = np.searchsorted(-thresholds, -said, side="left")  # the first (highest) threshold that a step reaches
    reached = np.cumsum(np.bincount(first, minlength=THRESHOLDS + 1)[:THRESHOLDS])
    return float(np.mean([_average_precision(truth, runs, first, reached, width) for width in range(border + 1)]))


def _average_precision(
    truth: Flags, runs: list[tuple[int, int]], first: npt.NDArray[np.int64], reached: npt.NDArray[np.int64], width: int
) -> float:
    weight = _soft(truth, runs, width)
    near = np.flatnonzero(weight)
    found = np.cumsum(np.bincount(first[near], weight[near], THRESHOLDS + 1)[:THRESHOLDS])
    outside = near[~truth[near]]
    soft = np.cumsum(np.bincount(first[outside], weight[outside], THRESHOLDS + 1)[:THRESHOLDS])
    recall = np.minimum(found / (truth.sum() + soft / 2), 1)
    seen = [int(first[start : end + 1].min()) for start, end in _joined(runs, len(truth), width)]
    recall = recall * np.cumsum(np.bincount(seen, minlength=THRESHOLDS + 1)[:THRESHOLDS]) / len(seen)
    return float(np.diff(recall, prepend=0.0) @ (found / reached))


def _runs(truth: Flags) -> list[tuple[int, int]]:
    """Return first and last step of each anomaly."""
    change = np.diff(np.concatenate([[0], truth.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(change == 1).tolist(), (np.flatnonzero(change == -1) - 1).tolist(), strict=True))


def _soft(truth: Flags, runs: list[tuple[int, int]], width: int) -> Numbers:
    """Return 1 inside anomalies, falling to either side as sqrt(1 - distance/width) as far as half the width."""
    weight, half = truth.astype(float), width // 2
    for start, end in runs:
        after = np.arange(end + 1, min(end + half + 1, len(truth)))
        before = np.arange(max(start - half, 0), start)
        weight[after] += np.sqrt(1 - (after - end) / max(width, 1))
        weight[before] += np.sqrt(1 - (start - before) / max(width, 1))
    return np.minimum(weight, 1)


def _joined(runs: list[tuple[int, int]], length: int, width: int) -> list[tuple[int, int]]:
    """Return the anomalies with half the width on either side; those that then meet are one."""
    half, joined = width // 2, []
    start = max(runs[0][0] - half, 0)
    for (_, end), (following, _) in itertools.pairwise(runs):
        if end + half < following - half:
            joined.append((start, end + half))
            start = following - half
    return [*joined, (start, min(runs[-1][1] + half, length - 1))]


def period(channel: npt.ArrayLike) -> int:
    """Return the period TSB-AD takes as border: the highest peak of the autocorrelation between lags 3 and 303, else 125."""
    values = np.asarray(channel, np.float64)[:_READ]
    values = values - values.mean()
    size = 1 << (2 * len(values) - 1).bit_length()
    spectrum = np.fft.rfft(values, size)
    covariance = np.fft.irfft(spectrum * np.conj(spectrum), size)[: min(_LAGS, len(values) - 1) + 1]
    if covariance[0] <= 0:
        return _USUAL
    curve = (covariance / covariance[0])[_FIRST_LAG:]
    peaks = np.flatnonzero((curve[1:-1] > curve[:-2]) & (curve[1:-1] > curve[2:])) + 1
    best = int(peaks[np.argmax(curve[peaks])]) if len(peaks) else 0
    return best + _FIRST_LAG if _FIRST_LAG <= best <= _LONGEST else _USUAL
