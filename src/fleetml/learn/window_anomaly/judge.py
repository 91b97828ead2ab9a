"""How detectors of anomalies in time are judged: on incidents of half an hour put into held-out series, and by their alarms on them as
they are.

The held-out series' first half is history only, the steps of the second are judged. To a graph that takes more history than
there is, what was before the first step counts as equal to that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetml.errors import InvalidData
from fleetml.learn import scorer
from fleetml.learn.anomaly import injection, samples
from fleetml.learn.anomaly.judge import auroc, average_precision
from fleetml.learn.anomaly.samples import METRICS, ROWS_PER_WEEK, Numbers
from fleetml.learn.forecaster import session
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.window_anomaly import mahalanobis, series
from fleetml.learn.window_anomaly.mahalanobis import KIND, Settings

MEASURE = "average_precision"
MORE_IS_BETTER = True
LASTING = 6
"""Steps of an incident."""
CLEAN, PER_INCIDENT = 500, 50
"""Half-hours judged as they are, and with each incident, at most."""
OUT_OF_STEP = "out_of_step"
"""An incident that no single row shows: one metric does what it did half a day before, or as long before as is known."""
SEED = 20_21
_HALF_DAY, _BATCH = 144, 8
Steps = list[tuple[str, int]]


def read(test: Path) -> dict[str, Numbers]:
    """Return the held-out series [N, 6] of each VM. Raises InvalidData where none has `2 * LASTING` steps."""
    found = {vm: rows for vm, rows in series.of(samples.load(test)).items() if len(rows) >= 2 * LASTING}
    if not found:
        raise InvalidData(f"a held-out series must have at least {2 * LASTING} steps, none has; give more days")
    return found


def about(held_out: Mapping[str, Numbers]) -> dict[str, Any]:
    """Return what the scores document says of the test."""
    rows = sum(len(each) - len(each) // 2 for each in held_out.values())
    return {"rows": rows, "vms": len(held_out), "incidents": sorted([*injection.INCIDENTS, OUT_OF_STEP])}


def baselines(held_out: Mapping[str, Numbers]) -> dict[str, bytes]:
    """Return the detector that a fitted one has to beat: the distance of a row alone, fitted on the history before the judged
    steps, which is later than what others know.
    """
    columns = series.columns(held_out)
    places = [METRICS.index(name) for name in columns]
    history = [rows[: len(rows) // 2, places] for rows in held_out.values()]
    row = mahalanobis.fit(history, Settings(steps=1, smooth=1, recent=0)).graph(columns)
    return {"row_distance": row.SerializeToString()}


def score(held_out: Mapping[str, Numbers], graph: bytes) -> dict[str, Any]:
    """Return average precision at a share `fleetml.learn.anomaly.training.PRIOR` of anomalies, AUROC, and from the score of 1 on: false
    alarms per VM and week, the share of incidents found. What a half-hour counts is its highest score. Raises InvalidGraph.
    """
    asked = Asked(graph)
    drawn = np.random.default_rng(SEED)
    ends = [(vm, at) for vm, rows in held_out.items() for at in range(len(rows) // 2 + LASTING - 1, len(rows))]
    each = asked.scores(held_out, _some(ends, CLEAN, drawn))
    hit = _some(ends, PER_INCIDENT, drawn)
    found = {name: asked.scores(held_out, hit, last).max(axis=1) for name, last in _incidents(held_out, hit, drawn)}
    clean, scores = each.max(axis=1), np.concatenate(list(found.values()))
    return {
        MEASURE: average_precision(clean, scores),
        "auroc": auroc(clean, scores),
        "false_alarms_per_vm_week": float((each >= 1).mean() * ROWS_PER_WEEK),
        "found": float((scores >= 1).mean()),
        "per_incident": {
            name: {"auroc": auroc(clean, one), "found": float((one >= 1).mean())} for name, one in found.items()
        },
    }


class Asked:
    """A loaded graph of the kind, in either form. Raises InvalidGraph for one of another kind, or of metrics there are not."""

    def __init__(self, graph: bytes) -> None:
        try:
            self.loaded = session(graph)
        except Exception as error:  # ONNX Runtime's errors share no public base
            raise InvalidGraph(f"a graph of kind {KIND} must load, got {error}; train again") from error
        said = scorer.described(self.loaded)
        columns = said.about.get("columns", ())
        if said.kind != KIND or not columns or not set(columns) <= set(METRICS):
            raise InvalidGraph(
                f"a graph of kind {KIND} must name its columns, some of {', '.join(METRICS)}, got {said.kind} with {list(columns)}; "
                "train again"
            )
        rows = said.about.get("rows")
        if not isinstance(rows, int) or rows < 1:
            raise InvalidGraph(f"a graph of kind {KIND} must say how many rows it takes, got {rows!r}; train again")
        self.rows, self.places = rows, [METRICS.index(name) for name in columns]

    def inputs(self, rows: Numbers) -> dict[str, Numbers]:
        """Return what the graph takes of metrics [batch, rows, 6]."""
        taken = np.ascontiguousarray(rows[:, :, self.places], np.float32)
        name = self.loaded.get_inputs()[0].name
        return {name: taken if name == "metrics" else taken[:, :, 0]}

    def window(self, rows: Numbers, at: int) -> Numbers:
        """Return the steps of a series up to `at` that the graph takes, [rows, 6]."""
        return _up_to(rows, at, self.rows)

    def scores(self, held_out: Mapping[str, Numbers], ends: Steps, last: Numbers | None = None) -> Numbers:
        """Return the scores [N, LASTING] of the half-hours up to N steps; `last` [N, LASTING, 6] stands in place of their rows."""
        parts = []
        for start in range(0, len(ends), _BATCH):
            rows = np.stack(
                [_up_to(held_out[vm], at, self.rows + LASTING - 1) for vm, at in ends[start : start + _BATCH]]
            )
            if last is not None:
                rows[:, -LASTING:] = last[start : start + _BATCH]
            view = np.lib.stride_tricks.sliding_window_view(rows, self.rows, axis=1).transpose(0, 1, 3, 2)
            taken = self.inputs(view.reshape(-1, self.rows, rows.shape[2]))
            parts.append(self.loaded.run(["score"], taken)[0].reshape(-1, LASTING))
        return np.concatenate(parts)


def _up_to(rows: Numbers, at: int, count: int) -> Numbers:
    """Return the last `count` steps of a series [N, 6] up to `at`."""
    return rows[np.maximum(np.arange(at - count + 1, at + 1), 0)]


def _some(steps: Steps, most: int, drawn: np.random.Generator) -> Steps:
    return [steps[place] for place in np.sort(drawn.permutation(len(steps))[:most])]


def _incidents(
    held_out: Mapping[str, Numbers], steps: Steps, drawn: np.random.Generator
) -> Iterator[tuple[str, Numbers]]:
    """Yield each incident that the metrics allow, and what it makes of the last rows before each step, [N, LASTING, 6]."""
    last = np.stack([held_out[vm][at - LASTING + 1 : at + 1] for vm, at in steps])
    for name, (metrics, change) in injection.INCIDENTS.items():
        if np.isfinite(last[:, :, list(metrics)]).all():
            yield name, change(last.reshape(-1, last.shape[2]), drawn).reshape(last.shape)
    earlier = np.stack([_earlier(held_out[vm], at) for vm, at in steps])
    present: npt.NDArray[np.intp] = np.flatnonzero(np.isfinite(last).all(axis=(0, 1)))
    chosen, each = drawn.choice(present, len(steps)), np.arange(len(steps))
    moved = last.copy()
    moved[each, :, chosen] = earlier[each, :, chosen]
    yield OUT_OF_STEP, moved


def _earlier(rows: Numbers, at: int) -> Numbers:
    end = max(at - _HALF_DAY, LASTING - 1)
    return rows[end - LASTING + 1 : end + 1]
