"""Calling ingest as a step does, and the odd formats it must read."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from components.ingest.ingest import ingest
from fleetml.component import Artifact


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[pl.DataFrame, dict]]:
    """Run ingest; return the table it wrote and the figures it logged."""

    def call(source: object, mapping: object = "", days: float = 30, end: str = "") -> tuple[pl.DataFrame, dict]:
        data = Artifact("data", str(tmp_path / "out" / "data"))
        metrics = Artifact("metrics", str(tmp_path / "out" / "metrics"))
        ingest(str(source), str(mapping), days, end, data, metrics)
        return pl.read_parquet(data.path), metrics.metadata

    return call


@pytest.fixture
def nothing_written(tmp_path: Path):
    """After the test, assert that a refused ingest left no output."""
    yield
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
