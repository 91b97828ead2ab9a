"""The timeline as a picture and a page."""

import html
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.demo_drift.loop import Loop
from benchmarks.demo_drift.timeline import Mark

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

    judged = loop.errors()
    zero = loop.line.zero
    seconds = (pl.col("time").dt.epoch("us") / 1e6 - zero) // EVERY * EVERY / 60
    by = judged.with_columns(seconds.alias("minute"))
    figure = Figure(figsize=(14, 8), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    known = (
        by.filter(pl.col("actual") > 0)
        .group_by("minute", "model_version")
        .agg(pl.col("error").sum(), pl.col("actual").sum(), pl.len())
    )
    for version in known["model_version"].unique().sort():
        own = known.filter(pl.col("model_version") == version).sort("minute")
        above.plot(own["minute"], own["error"] / own["actual"], marker=".", label=f"version {version}")
    above.set_ylabel("WAPE of what callers were answered")
    above.set_ylim(bottom=0)
    above.legend(loc="upper left")
    counts = (
        by.group_by("minute", "model_version")
        .agg(pl.len())
        .pivot("model_version", index="minute", values="len")
        .fill_null(0)
        .sort("minute")
    )
    names = sorted(set(counts.columns) - {"minute"})
    below.stackplot(counts["minute"], *(counts[name] / EVERY for name in names), labels=[f"version {n}" for n in names])
    below.set_ylabel("answers a second")
    below.set_xlabel("minutes after the shift")
    for number, mark in enumerate(
        each for each in loop.line.marks if each.name not in ("stack up", "champion trained")
    ):
        _label(above, below, mark, (mark.at - zero) / 60, number)
    figure.savefig(path, dpi=110)


def _label(above: Any, below: Any, mark: Mark, minute: float, number: int) -> None:
    for axes in (above, below):
        axes.axvline(minute, color="0.6", linewidth=0.8, linestyle=":")
    above.annotate(
        mark.name,
        (minute, 0.98 - 0.035 * (number % 6)),
        xycoords=("data", "axes fraction"),
        fontsize=8,
        rotation=0,
        va="top",
    )
