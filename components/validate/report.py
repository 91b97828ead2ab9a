"""The data report: one small HTML file that needs nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import polars as pl

from fleetml.data import schema

STYLE = """body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#1c2330}
table{border-collapse:collapse;margin:.6em 0 1.6em}
th,td{padding:.25em .8em;text-align:right;border-bottom:1px solid #e3e6eb}
th:first-child,td:first-child{text-align:left}th{background:#f4f6f9}.bar{background:#dbe4f5;width:12em;padding:0}
.bar i{display:block;height:1em;background:#c0392b}p.note{color:#5a6577}"""
VMS_SHOWN = 200


@dataclass(frozen=True)
class Figures:
    """What the report and the terminal say of a table; shares in percent, `per_vm` one row per VM, worst first."""

    vms: int
    step_seconds: float
    irregular_percent: float
    missing_percent: float
    off_percent: float
    memory_over_capacity: int
    per_vm: pl.DataFrame


def figures(frame: pl.DataFrame, target: Sequence[str]) -> Figures:
    """Return the figures of a canonical table, sorted by (vm_id, timestamp).

    A sample is missing where a VM has fewer rows with values in the `target` columns than steps (the median step of
    the fleet) from its first to its last row; a step is irregular when it differs from the median by more than half,
    to either side.
    """
    seconds = pl.col("timestamp").diff().over("vm_id").dt.total_microseconds() / 1e6
    known = pl.all_horizontal(pl.col(name).is_not_null() for name in target)
    steps = frame.select("vm_id", "timestamp", seconds.alias("step"), known.alias("known"))
    step = steps["step"].median()
    typical = float(step) if isinstance(step, int | float) and step > 0 else float(schema.STEP_SECONDS)
    irregular = (pl.col("step") - typical).abs() > typical / 2
    life = (pl.col("timestamp").max() - pl.col("timestamp").min()).dt.total_seconds()
    per_vm = (
        steps.group_by("vm_id")
        .agg(
            pl.len().alias("rows"),
            pl.col("known").sum(),
            (life / typical).round().cast(pl.Int64).alias("steps") + 1,
            irregular.sum().alias("irregular"),
            pl.col("step").max().alias("longest_gap"),
            pl.col("timestamp").min().alias("first"),
            pl.col("timestamp").max().alias("last"),
        )
        .with_columns((100 * (1 - pl.col("known") / pl.col("steps"))).clip(0, 100).alias("missing_percent"))
        .sort("missing_percent", "vm_id", descending=[True, False])
    )
    known_rows, expected = int(per_vm["known"].sum()), max(int(per_vm["steps"].sum()), 1)
    over = frame.filter(pl.col("memory_usage") > pl.col("memory_capacity")).height
    return Figures(
        vms=per_vm.height,
        step_seconds=typical,
        irregular_percent=round(100 * int(per_vm["irregular"].sum()) / frame.height, 2),
        missing_percent=round(max(0.0, 100 * (1 - known_rows / expected)), 2),
        off_percent=round(100 * frame.filter(pl.col("cpu_capacity") == 0).height / frame.height, 2),
        memory_over_capacity=over,
        per_vm=per_vm,
    )


def render(frame: pl.DataFrame, found: Figures, target: str) -> str:
    """Return the report as HTML."""
    first, last = found.per_vm.select(pl.col("first").min(), pl.col("last").max()).row(0)
    summary = [
        ("rows", f"{frame.height:,}"),
        ("VMs", f"{found.vms:,}"),
        ("span, UTC", f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"),
        ("median step", f"{found.step_seconds:g} s"),
        ("irregular steps", f"{found.irregular_percent} %"),
        ("missing samples of the target", f"{found.missing_percent} %"),
        ("rows of VMs that are off (zero capacity)", f"{found.off_percent} %"),
        ("rows with more memory used than provisioned", f"{found.memory_over_capacity:,}"),
    ]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Data report</title><style>{STYLE}</style>"
        f"<h1>Data report</h1><p>The table holds the canonical schema. Target: <b>{escape(target)}</b>.</p>"
        + _table(["", ""], [[escape(name), value] for name, value in summary])
        + "<h2>Columns</h2>"
        + _table(["column", "unit", "empty", "min", "mean", "median", "99 %", "max"], _columns(frame))
        + "<h2>VMs, most missing first</h2>"
        + _table(["VM", "rows", "missing", "", "longest gap", "first", "last"], _vms(found))
        + f"<p class=note>{max(0, found.vms - VMS_SHOWN)} more VMs are not listed.</p></html>\n"
    )


def _columns(frame: pl.DataFrame) -> list[list[str]]:
    rows = []
    for name in schema.METRICS:
        value = frame[name]
        statistics: list[Any] = [value.min(), value.mean(), value.median(), value.quantile(0.99), value.max()]
        empty = 100 * value.null_count() / frame.height
        numbers = ["" if number is None else f"{number:,.4g}" for number in statistics]
        rows.append([escape(name), escape(schema.UNITS[name]), f"{empty:.1f} %", *numbers])
    return rows


def _vms(found: Figures) -> list[list[str]]:
    return [
        [
            escape(vm["vm_id"]),
            f"{vm['rows']:,}",
            f"{vm['missing_percent']:.1f} %",
            f"<i style='width:{vm['missing_percent']:.0f}%'></i>",
            "" if vm["longest_gap"] is None else f"{vm['longest_gap'] / 3600:.1f} h",
            f"{vm['first']:%Y-%m-%d %H:%M}",
            f"{vm['last']:%Y-%m-%d %H:%M}",
        ]
        for vm in found.per_vm.head(VMS_SHOWN).iter_rows(named=True)
    ]


def _table(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td{' class=bar' if cell.startswith('<i') else ''}>{cell}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
