"""What a forecaster's answers depend on: asked of the finished graph, block of history by block, covariate by covariate."""

import time
from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import onnx

from fleetml.learn.forecaster import Forecaster
from fleetml.learn.metrics import mase
from fleetml.learn.windows import Floats, Meta, Windows

HOURS = (0, 1, 6, 12, 18, 24, 48, 96, 168)  # before the origin: where blocks begin
REPEATS = 3
MOST_ROWS = 24_000  # of windows times steps, asked at a time
Places = npt.NDArray[np.intp]


def permutation(graph: onnx.ModelProto, windows: Windows, seed: int, deadline: float) -> dict[str, float]:
    """Return by how much the MASE rises when a block or a covariate says what it said at another time of the same VM.

    The mean of three times, the largest first; what does not fit before `deadline` [monotonic s] is left out. Where VMs have one window
    each, it says what it said of another VM.
    """
    most = max(1, MOST_ROWS // windows.meta.horizon)
    some = windows[np.unique(np.linspace(0, len(windows) - 1, min(len(windows), most)).astype(np.intp))]
    forecaster, random = Forecaster(graph.SerializeToString()), np.random.default_rng(seed)
    base = mase(some, forecaster.predict(some.history, some.covariates))
    found: dict[str, float] = {}
    for name, read, columns in _parts(some.meta):
        if time.monotonic() > deadline:
            break
        raised = []
        for _ in range(REPEATS):
            given = {"history": some.history, "covariates": some.covariates}
            given[read] = _dealt(given[read], columns, elsewhere(some, random))
            raised.append(mase(some, forecaster.predict(**given)) - base)
        found[name] = float(np.mean(raised))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def blocks(meta: Meta) -> Mapping[str, slice]:
    """Return the columns of the history by how long before the origin they are."""
    starts = sorted({round(hours * 3600 / meta.step_seconds) for hours in HOURS})
    edges = [start for start in starts if start < meta.context] + [meta.context]
    hours = meta.step_seconds / 3600
    return {
        f"{low * hours:g} to {high * hours:g} hours before": slice(meta.context - high, meta.context - low)
        for low, high in pairwise(edges)
    }


def _parts(meta: Meta) -> Iterator[tuple[str, str, slice]]:
    for name, columns in blocks(meta).items():
        yield name, "history", columns
    for place, name in enumerate(meta.covariates):
        yield name, "covariates", slice(place, place + 1)


def _dealt(values: Floats, columns: slice, other: Places) -> Floats:
    made = values.copy()
    made[:, columns] = values[other, columns]
    return made


def elsewhere(windows: Windows, random: np.random.Generator) -> Places:
    """Return another window [N] for each: one of the same VM, or where most VMs have no second one, any."""
    _, vm, counts = np.unique(windows.vm_id, return_inverse=True, return_counts=True)
    if (counts[vm] > 1).mean() < 0.5:
        vm = np.zeros(len(windows), np.intp)
    order = np.lexsort((random.random(len(windows)), vm))
    following = np.roll(order, -1)
    ends = np.flatnonzero(vm[order] != vm[following])
    first = np.searchsorted(vm[order], vm[order[ends]])
    following[ends] = order[first]
    made = np.empty(len(windows), np.intp)
    made[order] = following
    return made
