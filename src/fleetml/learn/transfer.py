"""A model of the fleet, trained further on the few windows of a new region or class of VMs.

Which weights move is a mode; all that are allowed are tried from the same start, and judged, the untouched model among them,
on windows that none was trained on. With few windows that choice is what keeps it from being worse than the fleet's model.
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
_RATE = 4e-3  # where the graph does not say what it was trained with
_DECAY = 1e-3


@dataclass(frozen=True)
class Transferred:
    """The graph, the mode that it came from (`NONE`: the fleet's own, and `reason` says why), the validation MASE of each."""

    graph: onnx.ModelProto
    mode: str
    scores: Mapping[str, float]
    reason: str


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
    from fleetml.learn import metrics
    from fleetml.learn.forecaster import Forecaster

    if unknown := [mode for mode in modes if mode not in MODES]:
        raise InvalidParameter(f"a mode of transfer is one of {', '.join(MODES)}, got {unknown[0]!r}; correct it")
    train, val = _scored(train), _scored(val)
    if not len(train) or not len(val):
        what = "to train on" if not len(train) else "to judge on"
        return Transferred(fleet, NONE, {}, f"there are no windows {what}: the fleet's model as it is")
    scores = {NONE: metrics.mase(val, Forecaster(fleet.SerializeToString()).forecast(val))}
    made: dict[str, onnx.ModelProto] = {}
    for mode in modes:
        made[mode] = _trained(fleet, mode, train, val, epochs, batch_size, seed)
        scores[mode] = metrics.mase(val, Forecaster(made[mode].SerializeToString()).forecast(val))
    best = min(made, key=lambda mode: scores[mode], default=NONE)
    if best == NONE or not scores[best] <= (1 - _GAIN) * scores[NONE]:
        return Transferred(
            fleet, NONE, scores, f"no mode is {_GAIN:.0%} better on the held-out windows: the fleet's model as it is"
        )
    gain = 1 - scores[best] / scores[NONE]
    return Transferred(
        made[best], best, scores, f"{best} is {gain:.1%} better on the held-out windows than the fleet's model"
    )


def _scored(windows: Windows) -> Windows:
    import numpy as np

    return windows[(windows.scale > 0) & ~np.isnan(windows.target).all(axis=1)]


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
