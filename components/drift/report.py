"""The report: Evidently's page on a sample of the rows, with our figures, and a plot of the accuracy above it."""

import io
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import polars as pl

from components.drift.statistics import Judged, own_terms

ROWS = 20_000
"""Rows of each table that Evidently draws; the figures are of all."""
METHOD = "fleetml_kl"
_STATISTIC = "Kullback-Leibler divergence in each VM's own terms, of the live from the training rows"


def write(
    path: Path,
    live: pd.DataFrame,
    trained: pd.DataFrame,
    found: Mapping[str, Judged],
    column_threshold: float,
    judged: Path,
) -> None:
    """Write the page. Columns are drawn in own terms, features without live values are only named."""
    shown = [name for name, each in found.items() if each.divergence == each.divergence]
    body = "<p>No feature has values to compare.</p>"
    if shown:
        few = [table.sample(min(ROWS, len(table)), random_state=0).reset_index(drop=True) for table in (live, trained)]
        body = _evidently(*own_terms(few[0], few[1], shown), {name: found[name] for name in shown}, column_threshold)
    gone = [name for name, each in found.items() if each.missing]
    lost = f"<p>Missing in the live rows, and there in training: {', '.join(gone)}.</p>" if gone else ""
    above = f"<section style='font-family:sans-serif;margin:1em 2em'>{lost}{quality(judged)}</section>"
    path.write_text(
        re.sub(r"(<body[^>]*>)", lambda tag: tag[1] + above, body, count=1) if "<body" in body else above + body
    )


def quality(judged: Path) -> str:
    """Return a plot of the accuracy by hour of `judged` as an SVG element; a sentence where there is none."""
    table = pl.read_parquet(judged).filter(pl.col("actual") > 0)
    if table.is_empty():
        return "<p>No forecast has its truth yet.</p>"
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(table["hour"].to_list(), (1 - table["error"] / table["actual"]).clip(0, 1).to_list(), marker=".")
    axes.set_ylim(0, 1)
    axes.set_ylabel("accuracy")
    axes.set_title("1 - WAPE of the forecasts, by hour of their origin (UTC)")
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]


def _evidently(live: pd.DataFrame, trained: pd.DataFrame, found: Mapping[str, Judged], column_threshold: float) -> str:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    _register(found)
    definition = DataDefinition(numerical_columns=list(found))  # else few distinct numbers pass for categories
    limits = {name: column_threshold + each.usual for name, each in found.items()}
    share = 1 / len(found)  # one drifted column is a drifted data set
    preset = DataDriftPreset(columns=list(found), drift_share=share, num_method=METHOD, per_column_threshold=limits)
    result = Report([preset], include_tests=True).run(
        Dataset.from_pandas(live, definition), Dataset.from_pandas(trained, definition)
    )
    return str(result.get_html_str(as_iframe=False))


def _register(found: Mapping[str, Judged]) -> None:
    """Let Evidently show our figures: computed once, of all rows."""
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    def known(reference: pd.Series, current: pd.Series, kind: ColumnType, threshold: float) -> tuple[float, bool]:
        divergence = found[str(reference.name)].divergence
        return divergence, divergence > threshold

    register_stattest(StatTest(METHOD, _STATISTIC, [ColumnType.Numerical]), known)
