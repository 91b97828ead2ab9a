"""The window detector on three machines of SMD (../shared/data/smd), VUS-PR as TSB-AD judges its 23 detectors.

`python -m benchmarks.smd choose` compares settings on ASD's six servers and machine-1-6 alone; its lines are in results/smd.jsonl. The
three machines of the published table are judged by `run` with the settings that won there. As there, the first rows of a machine's
test part are the prefix, and every row of it is judged; a score stands at the middle of the rows it is about. Of the published, MCD,
OCSVM, AutoEncoder and the other networks are fitted on the prefix, PCA, KMeansAD, EIF and KNN on all rows: both are told.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet

from benchmarks.cells import RESULTS
from benchmarks.vus import Flags, Numbers, period, vus_pr
from fleetml.learn import scorer
from fleetml.learn.forecaster import session
from fleetml.learn.window_anomaly.mahalanobis import Detector, Settings, fit

REAL = Path(__file__).parents[2] / "shared/data"
CHOSEN_ON = (*(f"asd/omi-{number}" for number in range(1, 7)), "smd/machine-1-6")
JUDGED_ON = ("machine-1-7", "machine-2-1", "machine-3-4")
GOAL, SINGLE = 0.618, 0.488
_BEFORE_FIRST, _SHARE = 100, 4
_DETECTORS = slice(2, 25)
FITTED: dict[str, Callable[[Machine], Numbers]] = {
    "prefix": lambda machine: machine.rows[: machine.prefix],
    "all rows": lambda machine: machine.rows,
    "the part before": lambda machine: machine.before,
}

SETTINGS = {
    "prefix": Settings(),
    "all rows": Settings(steps=16, recent=0, weight=1.0, trim=0.1),
    "the part before": Settings(),
}
"""What `choose` found best, where what is fitted on is known to be usual, and where it is not."""


@dataclass(frozen=True)
class Machine:
    """rows [N, C] that are judged, what they are [N], how many of the first are known to be usual, and the rows before them."""

    rows: Numbers
    labels: Flags
    prefix: int
    before: Numbers

    @classmethod
    def read(cls, name: str) -> Machine:
        """Return a machine of ASD or SMD. The prefix ends as TSB-AD's do: 100 rows before the first anomaly, or after a quarter.

        Raises FileNotFoundError.
        """
        path = REAL / f"{name}.parquet"
        if not path.exists():
            raise FileNotFoundError(f"the real data must lie in {path}")
        table = parquet.read_table(path)
        test = np.asarray(table["split"].to_pylist()) == "test"
        metrics = [column for column in table.schema.names if column.startswith("m")]
        rows = np.stack([table[column].to_numpy() for column in metrics], axis=1).astype(float)
        labels = table["label"].to_numpy()[test] == 1
        prefix = min(int(labels.argmax()) - _BEFORE_FIRST, len(labels) // _SHARE)
        return cls(rows[test], labels, prefix, rows[~test])

    def judge(self, score: npt.ArrayLike, about: int = 1) -> float:
        """Return the VUS-PR of the scores [M] of the last M steps, each at the middle of the `about` rows that end there."""
        said = np.asarray(score)
        missing, after = len(self.rows) - len(said), about // 2
        placed = np.pad(said, (missing - after, after), mode="edge")
        return vus_pr(self.labels, placed, period(self.rows[:, 0]))


def run() -> Iterator[tuple[str, float, str]]:
    """Yield VUS-PR on each machine and in the mean beside the published; the figures of the graph."""
    began, found = time.monotonic(), {}
    published = _published()
    for name in JUDGED_ON:
        machine = Machine.read(f"smd/{name}")
        best = max(published[name], key=published[name].__getitem__)
        yield f"{name}: best published, {best}", published[name][best], ""
        for fitted, part in FITTED.items():
            detector = fit([part(machine)], SETTINGS[fitted])
            score = _by_graph(detector, machine.rows)
            found[name, fitted] = machine.judge(score, detector.settings.about)
            yield f"{name}: ours, fitted on {fitted}", found[name, fitted], ""
            if fitted == "prefix":
                yield f"{name}: the same, a score at its last row", machine.judge(score), ""
                yield from _about(name, detector)
    yield (
        "mean of the best published detector per machine",
        _mean(max(published[name].values()) for name in JUDGED_ON),
        "",
    )
    single = {detector: _mean(published[name][detector] for name in JUDGED_ON) for detector in published[JUDGED_ON[0]]}
    best = max(single, key=single.__getitem__)
    yield f"mean of the best single published detector, {best}", single[best], ""
    for fitted in FITTED:
        mean = _mean(found[name, fitted] for name in JUDGED_ON)
        goal = "" if fitted == "the part before" else _goal(mean)
        yield f"mean of ours, fitted on {fitted}", mean, goal
    told = {f"settings, {fitted}": asdict(settings) for fitted, settings in SETTINGS.items()}
    log("judged", told | {f"{name}, {fitted}": value for (name, fitted), value in found.items()})
    yield "taken", time.monotonic() - began, "s"


def choose() -> Iterator[tuple[dict[str, float], Settings]]:
    """Yield settings and their mean VUS-PR over `CHOSEN_ON`, fitted on the prefix, and on all rows; keep them."""
    machines = [Machine.read(name) for name in CHOSEN_ON]
    for steps, recent, weight, trim in itertools.product((12, 16), (0, 10, 20), (0.5, 1.0), (0.0, 0.1)):
        if recent == 0 and weight < 1:  # no second look to weigh
            continue
        settings = Settings(steps=steps, recent=recent, weight=weight, trim=trim)
        columns = ("all rows",) if trim else ("prefix", "all rows")
        figures = {
            fitted: [_figure(machine, fit([FITTED[fitted](machine)], settings)) for machine in machines]
            for fitted in columns
        }
        means = {fitted: _mean(iter(values)) for fitted, values in figures.items()}
        log("choose", {**asdict(settings), **figures, "means": means})
        yield means, settings


def _figure(machine: Machine, detector: Detector) -> float:
    return machine.judge(detector.score(machine.rows), detector.settings.about)


def log(what: str, figures: dict[str, object]) -> None:
    """Add a line to results/smd.jsonl."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "smd.jsonl").open("a") as file:
        file.write(json.dumps({"what": what, **_rounded(figures)}) + "\n")


def _rounded(figures: dict[str, object]) -> dict[str, object]:
    return dict(json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 4)))


def _by_graph(detector: Detector, rows: Numbers) -> Numbers:
    """Return what the graph says of every window. Raises ValueError where Python says another thing."""
    loaded = session(detector.graph().SerializeToString())
    view = np.lib.stride_tricks.sliding_window_view(rows.astype(np.float32), detector.settings.rows, axis=0)
    parts = [
        loaded.run(["score"], {"metrics": np.ascontiguousarray(view[at : at + 256].transpose(0, 2, 1))})[0][:, 0]
        for at in range(0, len(view), 256)
    ]
    said = np.concatenate(parts).astype(float)
    if not np.allclose(said, detector.score(rows), rtol=1e-3, atol=1e-4):
        raise ValueError("the graph must say what Python says; mend fleetml.learn.window_anomaly.mahalanobis")
    return said


def _about(name: str, detector: Detector) -> Iterator[tuple[str, float, str]]:
    graph = detector.graph().SerializeToString()
    yield f"{name}: size of the graph", len(graph) / 1000, "kB"
    yield f"{name}: p99 of a row", scorer.latency(graph)[1], "ms"


def _published() -> dict[str, dict[str, float]]:
    with gzip.open(REAL / "smd/published_tsbad_vus_pr.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    return {row["machine"]: {name: float(row[name]) for name in list(row)[_DETECTORS]} for row in rows}


def _goal(mean: float) -> str:
    return " ".join(f"({'met' if mean >= goal else 'NOT MET'}: at least {goal:g})" for goal in (SINGLE, GOAL))


def _mean(values: Iterator[float]) -> float:
    return float(np.mean(list(values)))


if __name__ == "__main__":
    if sys.argv[1:] != ["choose"]:
        sys.exit("error: python -m benchmarks.smd takes 'choose'; the figures are those of python -m benchmarks smd")
    for means, settings in choose():
        print(" ".join(f"{fitted} {mean:.4f}" for fitted, mean in means.items()), settings, flush=True)
