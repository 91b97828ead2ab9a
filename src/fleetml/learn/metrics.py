"""Errors of forecasts, as GIFT-Eval measures them: a window's MAE over the steps that were measured, its MASE that
divided by the VM's in-sample seasonal-naive MAE; figures over windows are plain means.

MASE: Hyndman and Koehler, Another look at measures of forecast accuracy, 2006. Windows without a measured target or
without a positive scale are skipped, as GIFT-Eval skips NaN. A forecast that is no number is infinitely wrong: leaving
out what is hard must not win.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fleetml.learn.windows import Floats, Windows

Values = npt.NDArray[np.float64]


def _errors(windows: Windows, forecast: Floats) -> Values:
    """Return the absolute errors [N, horizon] in the target's unit; NaN where nothing was measured."""
    target = windows.target.astype(np.float64)
    error = np.abs(target - forecast)
    return np.where(np.isnan(error) & ~np.isnan(target), np.inf, error)


def window_mae(windows: Windows, forecast: Floats) -> Values:
    """Return the MAE of each window [N] in the target's unit; NaN where nothing was measured."""
    error = _errors(windows, forecast)
    measured = ~np.isnan(error)
    counts = measured.sum(axis=1)
    sums = np.where(measured, error, 0.0).sum(axis=1)
    return np.divide(sums, counts, out=np.full(len(windows), np.nan), where=counts > 0)


def window_mase(windows: Windows, forecast: Floats) -> Values:
    """Return the MASE of each window [N]; NaN where it is not scored."""
    scale = windows.scale.astype(np.float64)
    scale[~(scale > 0)] = np.nan
    return window_mae(windows, forecast) / scale


def mean(values: Values) -> float:
    """Return the mean of what is not NaN; NaN when nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def mae(windows: Windows, forecast: Floats) -> float:
    """Return the mean MAE over the measured windows, in the target's unit."""
    return mean(window_mae(windows, forecast))


def mase(windows: Windows, forecast: Floats) -> float:
    """Return the mean MASE over the scored windows: 1 is as good as seasonal naive was on the training span."""
    return mean(window_mase(windows, forecast))


def per_vm(windows: Windows, forecast: Floats) -> dict[str, dict[str, float | None]]:
    """Return {vm: {"mase", "mae"}}; None where no window of the VM is scored."""
    errors, scaled = window_mae(windows, forecast), window_mase(windows, forecast)
    found = {}
    for vm in np.unique(windows.vm_id):
        rows = windows.vm_id == vm
        found[str(vm)] = {"mase": _known(mean(scaled[rows])), "mae": _known(mean(errors[rows]))}
    return found


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def per_step(windows: Windows, forecast: Floats) -> Values:
    """Return the mean absolute error of each step of the horizon, in units of the window's scale, [horizon]."""
    scale = np.where(windows.scale > 0, windows.scale, np.nan).astype(np.float64)[:, None]
    scaled = _errors(windows, forecast) / scale
    counts = (~np.isnan(scaled)).sum(axis=0)
    return np.divide(np.nansum(scaled, axis=0), counts, out=np.full(scaled.shape[1], np.nan), where=counts > 0)


def crps(windows: Windows, quantiles: Floats, levels: Sequence[float]) -> float:
    """Return the mean weighted sum of quantile losses of quantiles [N, horizon, Q], GIFT-Eval's stand-in for the CRPS.

    Mean over levels q of 2 sum (y - f) (q - [y < f]) / sum |y|, both sums over every measured step; NaN where all of it is 0.
    (Gneiting and Raftery, Strictly proper scoring rules, prediction, and estimation, 2007.)
    """
    target = windows.target.astype(np.float64)
    measured = ~np.isnan(target)
    actual = target[measured]
    losses = [pinball(actual, quantiles[..., place][measured], level).sum() for place, level in enumerate(levels)]
    whole = np.abs(actual).sum()
    return float(2 * np.mean(losses) / whole) if whole > 0 else float("nan")


def pinball(actual: Values, said: npt.ArrayLike, level: float) -> Values:
    """Return the quantile loss of each value."""
    apart = actual - np.asarray(said, np.float64)
    return np.maximum(level * apart, (level - 1) * apart)


def covered(windows: Windows, quantiles: Floats) -> float:
    """Return the share of what was measured that lies between the lowest and the highest quantile; NaN where nothing was."""
    measured = ~np.isnan(windows.target)
    inside = (windows.target >= quantiles[..., 0]) & (windows.target <= quantiles[..., -1])
    return mean(inside[measured].astype(np.float64))
