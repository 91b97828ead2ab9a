"""A model of the fleet, trained further on the few windows of a new region or class of VMs.

Which weights move is a mode; all that are allowed are tried from the same start. The windows held out are dealt in two: the
first choose the epoch of each mode and the mode, the others, which nothing has seen, tell its error and that of the untouched
model. With few windows that comparison is what keeps it from being worse than the fleet's model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetml.errors import InvalidParameter
from fleetml.learn.windows import Windows

if TYPE_CHECKING:
    import onnx

    from fleetml.learn.neural import Network

NONE = "none"


@dataclass(frozen=True)
class _Mode:
    """`moves` are beginnings of the names of the parameters that are trained; `rate` is a share of the learning rate of training."""

    moves: tuple[str, ...]
    rate: float


MODES: Mapping[str, _Mode] = {
    "all": _Mode(("",), 0.1),
    "head": _Mode(("mix.", "blend.", "residual."), 0.25),
    "adapter": _Mode(
        ("blend.bias", "residual.bias"), 1.0
    ),  # how far each naive forecast is trusted at each step, and a level
}
_GAIN = 0.01
"""By which share a trained model must be better than the fleet's on the windows held out, to be taken for it."""
LEAST = 8
"""Windows that each of the two parts must have to be dealt apart."""
_RATE = 4e-3  # where the graph does not say what it was trained with
_DECAY = 1e-3


@dataclass(frozen=True)
class Transferred:
    """The graph, the mode that it came from (`NONE`: the fleet's own, and `reason` says why), the MASE of each.

    `apart`: whether the windows that the scores are of have chosen nothing; `judged` is how many they are.
    """

    graph: onnx.ModelProto
    mode: str
    scores: Mapping[str, float]
    reason: str
    apart: bool = False
    judged: int = 0


def transfer(
    fleet: onnx.ModelProto,
    train: Windows,
    val: Windows,
    modes: Sequence[str] = tuple(MODES),
    epochs: int = 12,
    batch_size: int = 64,
    seed: int = 0,
) -> Transferred:
    """Return the best of the fleet's model and what each mode makes of it.

    Without windows to train or to judge on that is the fleet's model. Raises InvalidParameter for an unknown mode, InvalidGraph for
    a graph that is no network of ours, or whose windows are others.
    """
    if unknown := [mode for mode in modes if mode not in MODES]:
        raise InvalidParameter(f"a mode of transfer is one of {', '.join(MODES)}, got {unknown[0]!r}; correct it")
    from fleetml.learn import training

    train, val = training.scorable(train), training.scorable(val)
    if not len(train) or not len(val):
        what = "to train on" if not len(train) else "to judge on"
        return Transferred(fleet, NONE, {}, f"there are no windows {what}: the fleet's model as it is")
    parts = dealt(val)
    choice, report = parts or (val, val)
    scores = {NONE: _error(fleet, report)}
    made = {mode: _trained(fleet, mode, train, choice, epochs, batch_size, seed) for mode in modes}
    scores |= {mode: _error(graph, report) for mode, graph in made.items()}
    chosen = min(made, key=lambda mode: _error(made[mode], choice), default=NONE)
    where = f"on {len(report)} held-out windows"
    if not parts:
        where += " (too few to be dealt apart: they chose the epoch and the mode too, which flatters it)"
    if chosen != NONE and scores[chosen] <= (1 - _GAIN) * scores[NONE]:
        reason = f"{chosen} is {1 - scores[chosen] / scores[NONE]:.1%} better than the fleet's model {where}"
        return Transferred(made[chosen], chosen, scores, reason, parts is not None, len(report))
    reason = f"{chosen}, the best mode, is not {_GAIN:.0%} better {where}: the fleet's model as it is"
    return Transferred(fleet, NONE, scores, reason, parts is not None, len(report))


def dealt(val: Windows) -> tuple[Windows, Windows] | None:
    """Return windows that choose and later ones that report, whose targets do not overlap in time.

    Where these are fewer than LEAST, each VM is on one side; None where that leaves too few, too.
    """
    import numpy as np

    ends = val.origin + np.timedelta64(val.meta.step_seconds, "s") * val.meta.horizon
    moments, vms = np.unique(val.origin), np.unique(val.vm_id)
    middle = moments[len(moments) // 2]
    half = np.isin(val.vm_id, vms[::2])
    for choice, report in ((ends <= middle, val.origin >= middle), (half, ~half)):
        if min(choice.sum(), report.sum()) >= LEAST:
            return val[choice], val[report]
    return None


def _error(graph: onnx.ModelProto, windows: Windows) -> float:
    from fleetml.learn import metrics
    from fleetml.learn.forecaster import Forecaster

    return metrics.mase(windows, Forecaster(graph.SerializeToString()).forecast(windows))


def _trained(
    fleet: onnx.ModelProto, mode: str, train: Windows, val: Windows, epochs: int, batch_size: int, seed: int
) -> onnx.ModelProto:
    import torch

    from fleetml.learn import export, graph, parameters, training

    torch.set_num_threads(1)
    network, known = parameters.rebuilt(fleet), graph.describe(fleet)
    _freeze(network, MODES[mode])
    chosen = known.hyperparameters
    recipe = training.Recipe(
        learning_rate=MODES[mode].rate * float(chosen.get("learning_rate", _RATE)),
        weight_decay=float(chosen.get("weight_decay", _DECAY)),
        batch_size=batch_size,
        epochs=epochs,
    )
    training.fit(network, training.Examples.of(train), training.Examples.of(val), recipe, seed)
    made = export.from_torch(network, known.meta, copy.deepcopy(chosen))
    export.check_equal(made, val, training.predict(network, val))
    return made


def _freeze(network: Network, mode: _Mode) -> None:
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(mode.moves))
