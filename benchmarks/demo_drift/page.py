"""The timeline as a picture and a page."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.demo_drift.loop import Loop

BEFORE = ("stack up", "champion trained")
LEVELS = (0.99, 0.75, 0.51)  # where labels begin, so that neighbours do not overlap
LEAST = 10  # answers that make a point
EVERY = 24  # s of each point: a day of the fleet's time, so that night and day are in each


def write(folder: Path, loop: Loop) -> Path:
    """Write ``timeline.png`` and ``timeline.html`` into `folder`; return the page."""
    marks, zero = loop.line.marks, loop.line.zero
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _draw(folder / "timeline.png", loop)
        picture = "<img src='timeline.png' style='max-width:100%'>"
    except Exception as error:  # a page without its picture still tells what happened
        picture = f"<p>no picture: {html.escape(str(error))}</p>"
    cells = "".join(
        f"<tr><td>{each.at - zero:+.1f}<td>{html.escape(each.name)}<td>{each.seconds:.1f}<td>{html.escape(each.detail)}"
        for each in marks
    )
    page = folder / "timeline.html"
    page.write_text(
        "<!doctype html><meta charset=utf-8><title>The closed loop</title><style>body{font:14px sans-serif;margin:2em}"
        "td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}td:nth-child(odd){text-align:right}"
        f"</style><h1>The closed loop</h1>{picture}<table><tr><th>s after the shift<th>phase<th>seconds<th>what{cells}</table>"
    )
    return page


def _draw(path: Path, loop: Loop) -> None:
    from matplotlib.figure import Figure

    zero = loop.line.zero
    minute = ((pl.col("time").dt.epoch("us") / 1e6 - zero) // EVERY + 0.5) * EVERY / 60
    answers = loop.errors().with_columns(minute.alias("minute"))
    figure = Figure(figsize=(15, 8.5), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    _errors(above, answers)
    _shares(below, answers)
    below.set_xlabel("minutes after the shift")
    for number, mark in enumerate(each for each in loop.line.marks if each.name not in BEFORE):
        _label((above, below), mark.name, (mark.at - zero) / 60, LEVELS[number % len(LEVELS)])
    figure.savefig(path, dpi=110)


def _errors(axes: Any, answers: pl.DataFrame) -> None:
    judged = answers.filter(pl.col("actual") > 0).group_by("minute", "model_version")
    sums = judged.agg(pl.col("error").sum(), pl.col("actual").sum(), pl.len()).filter(pl.col("len") >= LEAST)
    for version in _versions(sums):
        own = sums.filter(pl.col("model_version") == version).sort("minute")
        axes.plot(own["minute"], own["error"] / own["actual"], marker=".", label=f"version {version}")
    axes.set_ylabel(f"WAPE of what callers were answered, {EVERY} s each")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower left")


def _shares(axes: Any, answers: pl.DataFrame) -> None:
    counts = answers.group_by("minute", "model_version").agg(pl.len())
    wide = counts.pivot("model_version", index="minute", values="len").fill_null(0).sort("minute")
    versions = _versions(counts)
    axes.stackplot(wide["minute"], *(wide[version] / EVERY for version in versions))
    axes.set_ylabel("answers a second")


def _versions(table: pl.DataFrame) -> list[str]:
    return sorted(table["model_version"].unique(), key=lambda version: (len(version), version))


def _label(axes: Sequence[Any], name: str, minute: float, level: float) -> None:
    for each in axes:
        each.axvline(minute, color="0.5", linewidth=0.8, linestyle=":")
    place = {"transform": axes[0].get_xaxis_transform(), "rotation": 90, "ha": "right", "va": "top", "fontsize": 8}
    axes[0].text(minute, level, name, color="0.2", **place)
