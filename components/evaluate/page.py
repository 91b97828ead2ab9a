"""The page that evaluate writes: one HTML file, tables and SVG inside."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fleetml.learn.metrics import Values

_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:60rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:right}"
    "td{white-space:nowrap}td:first-child,th:first-child,td:nth-child(2){text-align:left}.wide{overflow-x:auto}"
    "svg{max-width:100%;margin-top:1rem}"
)
_COVERED = (
    "CRPS: mean weighted quantile loss; covered: how much of what was measured lay between the lowest and the highest quantile, of how "
    "much they promise."
)

_ROOM = 0.12  # beyond the longest bar, of its length: for its figure


def render(scores: Mapping[str, Any], steps: Mapping[str, Values]) -> str:
    """Return the page of a scores document; `steps` are each candidate's errors by step of the horizon."""
    ranked = sorted(scores["candidates"].items(), key=lambda item: item[1]["mase"])
    rows = "".join(_row(name, entry) for name, entry in ranked)
    bars = _bars(ranked, "mase", "MASE on the held-out windows (less is better)")
    return (
        f"<!doctype html><meta charset=utf-8><title>Candidates</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(scores['target'])}: {len(ranked)} candidates</h1>"
        f"<p>{scores['windows']} held-out windows of {scores['vms']} VMs, {scores['horizon']} steps of "
        f"{scores['step_seconds']} s each. MASE: mean absolute error over that of seasonal naive on the training span. "
        f"{_COVERED}</p>"
        f"<div class=wide><table><tr><th>candidate<th>family<th>MASE<th>MAE<th>CRPS<th>covered<th>p99 ms<th>kB<th>memory MB<th>Wh per 1000</tr>{rows}</table></div>"
        f"{_svg(bars)}{_svg(_by_step(steps, scores['step_seconds']))}{_svg(_spread(ranked))}"
    )


def table(scores: Mapping[str, Any]) -> str:
    """Return the page of a scores document of a kind that scores rows: all figures, and the one that decides drawn."""
    measure = str(scores["measure"])
    ranked = sorted(scores["candidates"].items(), key=lambda item: item[1][measure], reverse=scores["more_is_better"])
    first = ranked[0][1]
    shown = [measure, *(key for key, value in first.items() if isinstance(value, int | float) and key != measure)]
    head = "".join(f"<th>{html.escape(key.replace('_', ' '))}" for key in shown)
    rows = "".join(
        f"<tr><td>{html.escape(name)}<td>{html.escape(entry['family'])}"
        + "".join(f"<td>{entry[key]:.5g}" for key in shown)
        for name, entry in ranked
    )
    counts = {key: value for key, value in scores.items() if isinstance(value, int) and key != "more_is_better"}
    tested = ", ".join(_counted(key, value) for key, value in counts.items())
    title = measure.replace("_", " ")
    figure = _bars(ranked, measure, f"{title} ({'more' if scores['more_is_better'] else 'less'} is better)")
    return (
        f"<!doctype html><meta charset=utf-8><title>Candidates</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(str(scores['kind']))}: {len(ranked)} candidates</h1><p>Judged on {html.escape(tested)}.</p>"
        f"<div class=wide><table><tr><th>candidate<th>family{head}</tr>{rows}</table></div>{_svg(figure)}"
    )


def _counted(key: str, value: int) -> str:
    """Return how many: 1 VM, 12 VMs."""
    name = "VMs" if key == "vms" else key
    return f"{value} {name.removesuffix('s') if value == 1 else name}"


def _row(name: str, entry: Mapping[str, Any]) -> str:
    return (
        f"<tr><td>{html.escape(name)}<td>{html.escape(entry['family'])}<td>{entry['mase']:.4f}<td>{entry['mae']:.4g}"
        f"{_of_quantiles(entry)}"
        f"<td>{entry['latency_ms_p99']:.3f}<td>{entry['size_bytes'] / 1000:.1f}<td>{entry['memory_mb']:.1f}"
        f"<td>{entry['wh_per_1000']:.3g}</tr>"
    )


def _of_quantiles(entry: Mapping[str, Any]) -> str:
    """The cells of CRPS and coverage; empty of a model that says no quantiles."""
    if "crps" not in entry:
        return "<td><td>"
    return f"<td>{entry['crps']:.4f}<td>{entry['covered']:.0%} of {entry['covered_said']:.0%}"


def _bars(ranked: list[tuple[str, Mapping[str, Any]]], measure: str, title: str) -> Figure:
    figure, axes = _axes(title)
    names, values = [name for name, _ in ranked][::-1], [entry[measure] for _, entry in ranked][::-1]
    axes.bar_label(axes.barh(names, values, color="#4c78a8"), fmt="{:.4g}", padding=3)
    axes.margins(x=_ROOM)
    return figure


def _by_step(steps: Mapping[str, Values], seconds: int) -> Figure:
    figure, axes = _axes("Error by distance into the future")
    for name, values in steps.items():
        axes.plot([(step + 1) * seconds / 60 for step in range(len(values))], values, label=name)
    axes.set(xlabel="minutes ahead", ylabel="error / scale")
    figure.legend(loc="outside right upper")
    return figure


def _spread(ranked: list[tuple[str, Mapping[str, Any]]]) -> Figure:
    figure, axes = _axes("MASE per VM (box: quartiles)")
    values = [[vm["mase"] for vm in entry["per_vm"].values() if vm["mase"] is not None] for _, entry in ranked]
    axes.boxplot(values, tick_labels=[name for name, _ in ranked], showfliers=False)
    axes.tick_params(axis="x", rotation=20)
    return figure


def _axes(title: str) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
