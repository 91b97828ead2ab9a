"""A few held-out windows with what the champion forecast for them: the median VM, the best, the worst."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

SHOWN = 4


@dataclass(frozen=True)
class Example:
    """One window, in the target's unit: history [context]; truth (may hold NaN), forecast, seasonal [horizon].

    `band` is the lowest and the highest quantile [2, horizon] at the `levels`; None of a model that says none.
    """

    vm: str
    origin: str
    history: "npt.NDArray[Any]"
    truth: "npt.NDArray[Any]"
    forecast: "npt.NDArray[Any]"
    seasonal: "npt.NDArray[Any]"
    mase: float
    step_seconds: int
    band: "npt.NDArray[Any] | None" = None
    levels: tuple[float, float] = (0.0, 0.0)


def choose(mase_of_vm: Mapping[str, float], count: int = SHOWN) -> list[str]:
    """Return VMs spread over the range of errors: best, the ones between, worst."""
    ranked = sorted(mase_of_vm, key=lambda vm: mase_of_vm[vm])
    if len(ranked) <= count:
        return ranked
    return [ranked[round(place * (len(ranked) - 1) / (count - 1))] for place in range(count)]


def read(test: Path, model: Path, vms: list[str]) -> list[Example]:
    """Forecast the last held-out window of each VM with the model. Raises what the windows or the graph raise."""
    import numpy as np

    from fleetml.learn.baselines import seasonal_steps
    from fleetml.learn.forecaster import Forecaster
    from fleetml.learn.windows import load

    windows = load(test)
    rows = [int(np.flatnonzero(windows.vm_id == vm)[-1]) for vm in vms if (windows.vm_id == vm).any()]
    chosen = windows[np.array(rows, dtype=np.intp)]
    forecaster = Forecaster(model)
    forecast, levels = forecaster.forecast(chosen), forecaster.description.quantiles
    quantiles = forecaster.quantiles(chosen.history, chosen.covariates)
    season = seasonal_steps(chosen.meta)
    found = []
    for row in range(len(chosen)):
        truth, history = chosen.target[row], chosen.history[row]
        error = float(np.nanmean(np.abs(truth - forecast[row]))) / float(chosen.scale[row])
        origin = np.datetime_as_string(chosen.origin[row], unit="m").replace("T", " ")
        found.append(
            Example(
                str(chosen.vm_id[row]),
                f"{origin} UTC",
                history,
                truth,
                forecast[row],
                history[season],
                error,
                chosen.meta.step_seconds,
                quantiles[row][:, [0, -1]].T if levels else None,
                (levels[0], levels[-1]) if levels else (0.0, 0.0),
            )
        )
    return found
