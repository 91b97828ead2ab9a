"""One canonical table, its units in the file, written whole or not at all."""

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from fleetml.data import schema
from fleetml.errors import InvalidParameter


def test_units_stand_in_the_file(tmp_path: Path):
    frame = pl.DataFrame({"vm_id": ["a"], "timestamp": [0], "cpu_usage": [3]})
    schema.write(frame.with_columns(pl.from_epoch("timestamp").dt.replace_time_zone("UTC")), tmp_path / "t.parquet")
    written = pq.read_schema(tmp_path / "t.parquet")
    assert written.names == list(schema.NAMES)
    assert written.field("memory_usage").metadata[b"unit"] == b"kB"
    assert written.metadata[b"fleetml.schema"] == b"canonical/1"
    assert str(written.field("timestamp").type) == "timestamp[us, tz=UTC]"
    back = pl.read_parquet(tmp_path / "t.parquet")
    assert back["cpu_usage"].to_list() == [3.0]
    assert back["latency"].to_list() == [None]


def test_a_failed_write_leaves_nothing(tmp_path: Path):
    with pytest.raises(pl.exceptions.InvalidOperationError):
        schema.write(pl.DataFrame({"vm_id": ["a"], "cpu_usage": ["many"]}), tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_target_names_its_columns():
    assert schema.target_columns("bandwidth") == ("network_received", "network_sent")
    assert schema.target_columns("cpu") == ("cpu_usage",)
    assert schema.target_columns("latency") == ("latency",)
    with pytest.raises(InvalidParameter, match="bandwidth, cpu"):
        schema.target_columns("gpu")
