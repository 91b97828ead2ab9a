"""The model card: for whom a version is good and for whom not, readable as text and as a page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from components.register import card, slices
from fleetml.learn.windows import Windows

VMS = [f"vm-{number}" for number in range(10)]  # the fixture's; the higher, the larger


def judged(**mase: list[float]) -> dict[str, Any]:
    """The scores of candidates by name, a MASE a VM."""
    entries = {
        name: {
            "family": "linear",
            "mase": sum(values) / len(values),
            "mae": 3.0,
            "per_vm": {vm: {"mase": value, "mae": 1.0} for vm, value in zip(VMS, values, strict=True)},
        }
        for name, values in mase.items()
    }
    return {"target": "bandwidth", "windows": 60, "vms": 10, "horizon": 4, "step_seconds": 300, "candidates": entries}


LINEAGE = {
    "run_id": "run-7",
    "data": {"uri": "file:///data.parquet", "rows": 5, "sha256": "ab" * 32},
    "features": {"service": "forecast-1f", "covariates": ["vm_metrics:cpu_usage"]},
    "commit": "c0ffee",
    "code_sha256": "de" * 32,
    "image": "python 3.11",
    "model": {"metadata": {"family": "linear", "hyperparameters": {"alpha": 0.1}}},
    "champion_before": "6",
}
SCORES = judged(automl=[0.5] * 8 + [2.0, 3.0], seasonal_naive=[1.0] * 10)


@pytest.fixture
def found(tmp_path: Path, windows: Callable[..., Windows]) -> list[slices.Slice]:
    windows(40).save(tmp_path / "train.parquet")
    regions = pl.DataFrame({"vm_id": VMS, "region": ["north"] * 5 + ["south"] * 5})
    regions.write_parquet(tmp_path / "data.parquet")
    return slices.of(SCORES, "automl", tmp_path / "train.parquet", tmp_path / "data.parquet")


def test_errors_are_told_by_size_and_region(found: list[slices.Slice]) -> None:
    by_name = {each.name: each for each in found}
    assert by_name["all"] == slices.Slice("all", 10, pytest.approx(0.9), 1.0, 0.2)
    assert by_name["size: quarter 1 of 4"].mase == 0.5
    assert by_name["size: quarter 4 of 4"].mase > 2.0
    assert (by_name["region: north"].worse, by_name["region: south"].worse) == (0.0, 0.4)


def test_data_without_regions_and_scores_without_vms(tmp_path: Path, windows: Callable[..., Windows]) -> None:
    path = tmp_path / "train.parquet"
    windows(40).save(path)
    assert {each.name.split(":")[0] for each in slices.of(SCORES, "automl", path, path)} == {"all", "size"}
    bare = {**SCORES, "candidates": {name: {"mase": 1.0} for name in ("automl", "seasonal_naive")}}
    assert slices.of(bare, "automl", path, path) == []
    assert slices.of(SCORES, "gone", path, path) == []


def test_the_card_says_what_how_well_for_whom_and_where_it_ends(found: list[slices.Slice]) -> None:
    text = card.markdown("bandwidth", card.parts(SCORES, "automl", LINEAGE, found))
    for words in (
        "Forecasts bandwidth of a VM for up to 20 minutes",
        "| automl (this one) | linear | 0.9 | 3 |",
        "Worst VMs by MASE: vm-9 (3.00), vm-8 (2.00)",
        "For 20% of the VMs seasonal naive was better",
        "Worse than seasonal naive for: size: quarter 4 of 4",
        "| run | run-7 |",
        "| code commit | c0ffee |",
        "| feature service | forecast-1f |",
    ):
        assert words in text


def test_the_page_holds_the_same_and_its_plots(found: list[slices.Slice]) -> None:
    sections = card.parts(SCORES, "automl", LINEAGE, found)
    page = card.page("band<width", sections, SCORES, found)
    assert "band&lt;width" in page
    assert page.count("<svg") == 2
    assert "Worst VMs by MASE" in page


def test_a_card_of_a_model_of_another_kind() -> None:
    scores = {
        "kind": "placement",
        "measure": "allocation",
        "more_is_better": True,
        "candidates": {
            "policy": {"family": "linear", "allocation": 0.95},
            "best_fit": {"family": "rule", "allocation": 0.93},
        },
    }
    sections = card.parts(scores, "policy", LINEAGE, [])
    text = card.markdown("placement", sections)
    assert text.index("policy (this one)") < text.index("best_fit")
    assert "A placement model of the family linear" in text
    assert "For whom" not in text
    assert "<svg" in card.page("placement", sections, scores, [])
