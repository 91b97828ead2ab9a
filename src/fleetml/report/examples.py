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
    """One window, in the target's unit: history [context]; truth (may hold NaN), forecast, seasonal [horizon]."""

    vm: str
    origin: str
    history: "npt.NDArray[Any]"
    truth: "npt.NDArray[Any]"
    forecast: "npt.NDArray[Any]"
    seasonal: "npt.NDArray[Any]"
    mase: float
    step_seconds: int


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
    forecast = Forecaster(model).forecast(chosen)
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
            )
        )
    return found
