"""The pages of evaluate: figures and curves can be read, whatever the candidates."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.evaluate import page

ENTRY = {"family": "mlp", "gain": 0.5, "latency_ms_p99": 2.15e-05}


def scores(**about: int) -> dict[str, Any]:
    return {"kind": "window_anomaly", "measure": "gain", "more_is_better": True, **about, "candidates": {"a": ENTRY}}


def test_one_is_told_in_the_singular() -> None:
    assert "Judged on 1296 rows, 1 VM.</p>" in page.table(scores(rows=1296, vms=1))
    assert "Judged on 1 episode, 12 VMs.</p>" in page.table(scores(episodes=1, vms=12))


def test_a_figure_is_on_one_line() -> None:
    found = page.table(scores(rows=3))
    assert "<td>2.15e-05" in found
    assert "td{white-space:nowrap}" in found


def test_the_figure_of_a_bar_is_inside_its_frame() -> None:
    ranked = [("a", {"mase": 1.2321}), ("b", {"mase": 1.2}), ("c", {"mase": 0.1})]
    figure = page._bars(ranked, "mase", "MASE")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert [each.get_text() for each in axes.texts] == ["0.1", "1.2", "1.232"]
    assert all(each.get_window_extent().x1 < axes.bbox.x1 for each in axes.texts)


def test_the_legend_hides_no_curve() -> None:
    figure = page._by_step({"seasonal_naive": np.arange(12.0), "automl": np.ones(12)}, 300)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [each.get_text() for each in legend.get_texts()] == ["seasonal_naive", "automl"]
    assert legend.get_window_extent().x0 > figure.axes[0].bbox.x1
