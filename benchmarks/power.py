"""Power models: held-out error on measured encodes, and time against a plain scikit-learn pipeline (needs ../shared).

transcode: 10 to 15 scenarios a file (RAPL); each is left out in turn, the choice of the model included, then each file. Predictions of
its analysis: from the stream counts that the analysis took, where "10 Mbps Stream" is ten.
greem: means of a minute of encoding, cpu + gpu power, without warm-up; each of the six runs of the GPU host is left out in turn. Rows of a
run have the same features, so what varies within a run cannot be predicted.
veed: power and energy of an encode of four seconds; a fifth of the videos is left out in turn. "cells" is the mean of each codec,
instance and rung: the best that can be known without a look at the video. Energy is modelled from CPU time there, not metered.
time: fit and 200 draws of a bootstrap, then the prediction of all rows with intervals; the same terms on both sides.
"""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.goals import Figure, judged
from fleetml.cost.power import batch
from fleetml.cost.power.fit import Array, design, fit, r2
from fleetml.cost.power.model import Prediction
from fleetml.cost.power.rows import Row, rows
from fleetml.cost.results_files import read
from fleetml.frozen import replace

DATA = Path(__file__).parents[2] / "shared/data"
DRAWS = 200
GOALS = {
    "transcode: furthest from predicted_mean_power_w": 5.0,
    "15 rows: fit and predict, share of scikit-learn's time": 0.2,
    "18,000 rows: fit and predict, share of scikit-learn's time": 0.2,
}
Fold = tuple[Sequence[Row], Sequence[Row]]


def run() -> Iterator[Figure]:
    """Yield the figures."""
    if not DATA.exists():
        raise FileNotFoundError(f"the published measurements must lie in {DATA}")
    yield from judged(_figures(), GOALS)


def _figures() -> Iterator[Figure]:
    files = {path.stem[13:]: _transcode(path) for path in sorted((DATA / "transcode_power").glob("*.json"))}
    yield "transcode: furthest from predicted_mean_power_w", 100 * max(map(_against_analysis, _analyses())), "%"
    for name, found in files.items():
        yield from _held_out(f"transcode {name}, each of {len(found)} left out", _one_by_one(found), "W")
    for name, found in files.items():
        others = [row for other, its in files.items() if other != name for row in its]
        yield from _held_out(f"transcode {name}, the file left out", [(others, found)], "W")
    yield from _held_out("greem, each run left out", _greem(), "W")
    for what, unit in (("power", "W"), ("energy", "kWh")):
        found = _veed(what)
        yield from _held_out(f"veed {what}, videos left out", _by_video(found), unit)
        yield from _told(f"veed {what}, cells", *_cells(_by_video(found)), unit)
    yield from _times("15 rows", files["20251229_125651"])
    yield from _times("18,000 rows", [row for _, row in _veed("power")])


def _held_out(name: str, folds: Sequence[Fold], unit: str) -> Iterator[Figure]:
    measured: list[float] = []
    found: list[Prediction] = []
    for seen, unseen in folds:
        model = fit(seen)
        predictions = [(row.watts, model.predict(row.features)) for row in unseen]
        measured += [watts for watts, it in predictions if it]
        found += [it for _, it in predictions if it]
    yield from _told(name, np.array(measured), np.array([it.watts for it in found]), unit)
    inside = [it.least <= watts <= it.most for watts, it in zip(measured, found, strict=True)]
    yield f"{name}: in the interval of 95 %", 100 * float(np.mean(inside)), f"% of {len(inside)}"


def _told(name: str, measured: Array, predicted: Array, unit: str) -> Iterator[Figure]:
    yield f"{name}: R2", r2(measured, predicted), ""
    scale, shown = (1e6, "mWh") if unit == "kWh" else (1.0, unit)
    yield f"{name}: MAE", scale * float(np.abs(measured - predicted).mean()), shown


def _one_by_one(found: Sequence[Row]) -> list[Fold]:
    return [([*found[:place], *found[place + 1 :]], [found[place]]) for place in range(len(found))]


def _table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def _transcode(path: Path) -> list[Row]:
    watts = {row["name"]: float(row["mean_power_w"]) for row in _table(path.with_name(f"{path.stem}_analysis.csv"))}
    return rows(replace(it, mean_power_w=watts[it.name]) for it in read(path).scenarios)


def _analyses() -> Iterator[list[Mapping[str, str]]]:
    for path in sorted((DATA / "transcode_power").glob("*_analysis.csv")):
        yield [row for row in _table(path) if row["predicted_mean_power_w"]]


def _against_analysis(table: Sequence[Mapping[str, str]]) -> float:
    """Return the largest share by which a prediction is off that of the analysis."""
    counts = [float(match[0]) for row in table if (match := re.match(r"\d+", row["name"]))]
    known = [Row(float(row["mean_power_w"]), {"streams": count}) for row, count in zip(table, counts, strict=True)]
    theirs = np.array([float(row["predicted_mean_power_w"]) for row in table])
    return float(np.abs(batch.predict(fit(known, "streams"), known)[0] / theirs - 1).max())


def _greem() -> list[Fold]:
    """Means of a minute: of the GPU host, and the one run of the other host, which is always seen."""
    table = pl.read_parquet(DATA / "greem_parallel_encoding/greem.parquet").filter(pl.col("cpu_power") > 0)
    table = table.filter((pl.col("host") != "gpu5") | (pl.col("gpu_power") > 0))
    stamp = pl.col("timestamp").str.to_datetime()
    minute = (stamp - stamp.min()).dt.total_minutes().over("file")
    means = (
        table.with_columns(minute=minute).filter(pl.col("minute") > 0).group_by("file", "minute", maintain_order=True)
    )
    grid = means.agg(
        (pl.col("cpu_power") + pl.col("gpu_power")).mean().alias("watts"),
        pl.col("host", "codec", "num_videos", "width", "height").first(),
    )
    found: dict[str, list[Row]] = {}
    for it in grid.iter_rows(named=True):
        known = {"streams": it["num_videos"], "megapixels": it["width"] * it["height"] / 1e6}
        row = Row(it["watts"], {**known, "encoder": it["codec"], "hardware": it["host"]})
        found.setdefault(it["file"], []).append(row)
    held = [file for file, its in found.items() if its[0].features["hardware"] == "gpu5"]
    return [([row for other, its in found.items() if other != file for row in its], found[file]) for file in held]


def _veed(what: str) -> list[tuple[str, Row]]:
    """Return the video and the row of each encode."""
    table = pl.read_parquet(DATA / "veed_encoding_energy/veed.parquet")
    energy = pl.col("model_cpu_energy [kWh]")
    target = energy if what == "energy" else energy * 3.6e6 / pl.col("duration [s]")
    found = []
    for it in table.with_columns(target=target).iter_rows(named=True):
        known = {"streams": 1, "mbps": it["bitrate [kb/s]"] / 1000, "megapixels": it["width"] * it["height"] / 1e6}
        row = Row(it["target"], {**known, "encoder": it["codec"], "hardware": it["instance"]})
        found.append((it["input_file_name"].rpartition("_s")[0], row))
    return found


def _by_video(found: Sequence[tuple[str, Row]]) -> list[Fold]:
    videos = np.random.default_rng(0).permutation(sorted({video for video, _ in found}))
    fold = {video: place % 5 for place, video in enumerate(videos)}
    return [
        ([row for video, row in found if fold[video] != held], [row for video, row in found if fold[video] == held])
        for held in range(5)
    ]


def _cells(folds: Sequence[Fold]) -> tuple[Array, Array]:
    measured, predicted = [], []
    for seen, unseen in folds:
        sums: dict[object, list[float]] = {}
        for row in seen:
            sums.setdefault(tuple(row.features.values()), []).append(row.watts)
        measured += [row.watts for row in unseen]
        predicted += [float(np.mean(sums[tuple(row.features.values())])) for row in unseen]
    return np.array(measured), np.array(predicted)


def _times(name: str, found: Sequence[Row]) -> Iterator[Figure]:
    ours = _seconds(lambda: batch.predict(fit(found, "load", DRAWS), found))
    theirs = _seconds(lambda: _scikit(found))
    yield f"{name}: fit and predict, ours", 1000 * ours, "ms"
    yield f"{name}: fit and predict, scikit-learn", 1000 * theirs, "ms"
    yield f"{name}: fit and predict, share of scikit-learn's time", ours / theirs, ""
    model = fit(found, "load", DRAWS)
    some = [row.features for row in found[:15]]
    yield (
        f"{name}: predict of one, without numpy",
        1e6 * _seconds(lambda: [model.predict(it) for it in some]) / 15,
        "us",
    )


def _scikit(found: Sequence[Row]) -> npt.NDArray[np.float64]:
    """What one writes first: a pipeline with the same terms, fitted to rows drawn again and again."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import resample

    values = design(fit(found, "load", 1).terms, found)
    watts = np.array([row.watts for row in found])
    make_pipeline(StandardScaler(), Ridge()).fit(values, watts).predict(values)
    drawn = []
    for seed in range(DRAWS):
        x, y = resample(values, watts, random_state=seed)
        drawn.append(make_pipeline(StandardScaler(), Ridge()).fit(x, y).predict(values))
    return np.quantile(drawn, [0.025, 0.975], axis=0)


def _seconds(work: Callable[[], object]) -> float:
    """Return the least of five times."""
    found = []
    for _ in range(5):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return min(found)
