"""The plots of the run report: each a function from plain values to an inline SVG string."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fleetml.cost.estimate import Cost
from fleetml.report.examples import Example
from fleetml.report.verdict import BASELINES, Candidate

ACCENT, PLAIN, GREY, WARN, INK = "#2563a8", "#9dbbd8", "#c4c9cf", "#c2513a", "#20262d"
STATES = {"succeeded": ACCENT, "cached": GREY, "failed": WARN, "cancelled": WARN, "running": PLAIN}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, and in the page's own font
    "svg.hashsalt": "fleetml",  # the same input gives the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8b939c",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": "#59626c",
    "ytick.color": INK,
    "axes.grid": False,
}


def errors(candidates: Sequence[Candidate], champion: str) -> str:
    """MASE of every candidate, best first; the whisker spans the middle half of the VMs."""
    known = [c for c in candidates if c.mase is not None][::-1]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 0.4 * len(known) + 0.9), layout="constrained")
        axes = figure.subplots()
        for row, candidate in enumerate(known):
            axes.barh(row, candidate.mase or 0.0, color=_colour(candidate.name, champion), height=0.62)
            _whisker(axes, row, list(candidate.mase_of_vm.values()))
            ink = "white" if candidate.name == champion else INK
            axes.annotate(
                f"{candidate.mase:.3f}", (0, row), xytext=(5, 0), textcoords="offset points", va="center", color=ink
            )
        axes.set_yticks(range(len(known)), [_label(c) for c in known])
        axes.set_xlabel("MASE on the held-out windows (lower is better; whisker: middle half of the VMs)")
        axes.margins(y=0.02)
        return _svg(figure)


def per_vm(champion: Candidate, baseline: Candidate) -> str:
    """Champion against a baseline, one dot a VM; below the diagonal the champion is better."""
    shared = sorted(set(champion.mase_of_vm) & set(baseline.mase_of_vm))
    x, y = ([c.mase_of_vm[vm] for vm in shared] for c in (baseline, champion))
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.9, 3.7), layout="constrained")
        axes = figure.subplots()
        top = max([*x, *y, 1e-9]) * 1.05
        axes.plot([0, top], [0, top], color=GREY, linewidth=1)
        axes.scatter(x, y, s=16, color=ACCENT, alpha=0.7, linewidths=0)
        axes.set(xlim=(0, top), ylim=(0, top), xlabel=f"MASE of {baseline.name}", ylabel=f"MASE of {champion.name}")
        return _svg(figure)


def forecasts(examples: Sequence[Example], unit: str) -> str:
    """History, truth, forecast with its band, and the seasonal repetition of a few held-out windows."""
    rows = -(-len(examples) // 2)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 2.3 * rows + 0.4), layout="constrained")
        grid = np.atleast_1d(figure.subplots(rows, 2)).ravel()
        for axes in grid[len(examples) :]:
            axes.set_visible(False)
        for axes, example in zip(grid, examples, strict=False):
            _example(axes, example)
        grid[0].set_ylabel(unit)
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False)
        return _svg(figure)


def gantt(rows: Sequence[tuple[str, str, float, float]]) -> str:
    """Steps over time: (label, state, start, end), seconds since the run began."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 0.32 * len(rows) + 0.8), layout="constrained")
        axes = figure.subplots()
        end = max([row[3] for row in rows] or [1.0])
        for place, (_, state, begin, over) in enumerate(rows):
            width = max(over - begin, end / 400)
            axes.broken_barh([(begin, width)], (place - 0.33, 0.66), color=STATES.get(state, GREY))
            axes.annotate(
                f"{over - begin:.1f} s",
                (begin + width, place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_yticks(range(len(rows)), [row[0] for row in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, end * 1.08 or 1)
        axes.set_xlabel("seconds since the run began")
        return _svg(figure)


def costs(rows: Sequence[tuple[str, Cost]], limit: int = 12) -> str:
    """Where energy and money went: the dearest steps, those that used most energy first; the rest is one bar.

    Nothing is drawn where nothing was used.
    """
    spent = sorted((row for row in rows if row[1].kwh > 0), key=lambda row: -row[1].kwh)
    if not spent:
        return ""
    shown = [(label, cost.kwh * 1000, cost.money) for label, cost in spent[:limit]]
    if rest := [cost for _, cost in spent[limit:]]:
        money = [cost.money for cost in rest if cost.money is not None]
        shown.append(
            (f"{len(rest)} others", sum(c.kwh for c in rest) * 1000, sum(money) if len(money) == len(rest) else None)
        )
    currencies = {cost.currency for _, cost in spent}
    one = len(currencies) == 1 and all(money is not None for _, _, money in shown)  # two currencies have no common axis
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 0.32 * len(shown) + 0.8), layout="constrained")
        both = figure.subplots(1, 2 if one else 1, sharey=True, squeeze=False)[0]
        _bars(both[0], [energy for _, energy, _ in shown], "energy [Wh]")
        if one:
            _bars(both[1], [money or 0.0 for _, _, money in shown], f"money [{currencies.pop()}]")
        both[0].set_yticks(range(len(shown)), [label for label, _, _ in shown])
        both[0].invert_yaxis()
        return _svg(figure)


def _bars(axes: Axes, values: Sequence[float], unit: str) -> None:
    axes.barh(range(len(values)), values, color=ACCENT, height=0.62)
    whole = sum(values)
    for row, value in enumerate(values):
        share = f"{100 * value / whole:.0f} %" if whole > 0 else ""
        axes.annotate(share, (max(value, 0.0), row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(3))  # more would overlap: a step may cost 0.00005 USD
    axes.xaxis.set_major_formatter(lambda value, _: np.format_float_positional(value, precision=12, trim="-"))
    axes.set_xlabel(unit)


def _example(axes: Axes, example: Example) -> None:
    shown = len(example.history)
    past, future = np.arange(-shown + 1, 1), np.arange(1, len(example.forecast) + 1)
    hours = example.step_seconds / 3600
    axes.plot(past * hours, example.history, color="#8b939c", linewidth=0.9, label="history")
    if example.band is not None:
        said = "between the quantiles {:g} and {:g}".format(*example.levels)
        axes.fill_between(future * hours, *example.band, color=ACCENT, alpha=0.18, linewidth=0, label=said)
    axes.plot(future * hours, example.truth, color=INK, linewidth=1.2, label="measured")
    axes.plot(future * hours, example.seasonal, color=WARN, linewidth=1, linestyle=":", label="seasonal naive")
    axes.plot(future * hours, example.forecast, color=ACCENT, linewidth=1.6, label="forecast")
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_title(f"{example.vm}, {example.origin}: MASE {example.mase:.2f}", fontsize=9, loc="left")
    axes.set_xlabel("hours from the forecast's origin", fontsize=8)
    axes.set_ylim(bottom=0)


def _whisker(axes: Axes, row: int, values: Sequence[float]) -> None:
    if len(values) > 1:
        low, high = np.percentile(values, [25, 75])
        axes.plot([low, high], [row, row], color=INK, linewidth=1.1, alpha=0.65)


def _colour(name: str, champion: str) -> str:
    return ACCENT if name == champion else GREY if name in BASELINES else PLAIN


def _label(candidate: Candidate) -> str:
    return f"{candidate.name} ({candidate.family})" if candidate.family not in ("", candidate.name) else candidate.name


def _svg(figure: Figure) -> str:
    sink = io.StringIO()
    figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = sink.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*pt" height="[^"]*pt"|(<svg[^>]*?) height="[^"]*pt"', r"\1\2", drawing, count=1
    )
