"""The truth that forecasts are judged by, of a canonical table."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from components.features.observe import observe
from fleetml.component import Artifact
from fleetml.data import schema
from fleetml.errors import ConfigurationError
from fleetml.serving import truth

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def take_in(folder: Path, model: str, serving_dir: str = "") -> dict[str, object]:
    rows = [("vm-1", NOON + timedelta(minutes=minute), 2.0 * minute, 1.0) for minute in range(10)]
    names = ["vm_id", "timestamp", "network_received", "network_sent"]
    schema.write(pl.DataFrame(rows, schema=names, orient="row"), folder / "data")
    metrics = Artifact("metrics", "")
    observe(Artifact("data", str(folder / "data")), metrics, serving_dir or str(folder), model)
    return metrics.metadata


def test_truth_is_binned_as_features_are(tmp_path: Path) -> None:
    assert take_in(tmp_path, "bandwidth") == {"values": 2, "vms": 1}
    kept = truth.read(tmp_path, "bandwidth", NOON)
    assert kept.rows() == [("vm-1", NOON, 5.0), ("vm-1", NOON + timedelta(minutes=5), 15.0)]


def test_a_model_that_forecasts_no_feature_has_no_truth(tmp_path: Path) -> None:
    assert take_in(tmp_path, "placement")["values"] == 0
    assert not (tmp_path / truth.TRUTH).exists()


def test_a_metric_that_was_not_measured_is_no_truth(tmp_path: Path) -> None:
    assert take_in(tmp_path, "cpu")["values"] == 0


def test_a_serving_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="serving folder must exist"):
        take_in(tmp_path, "bandwidth", str(tmp_path / "nowhere"))
