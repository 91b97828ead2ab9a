"""Small tables whose target follows from their columns, and the stages as plain functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.tabular.extract import extract
from components.tabular.prepare import prepare
from components.tabular.train import train
from fleetml.component import Artifact

New = Callable[[str], Artifact]
FEATURES: list[Any] = ["age", {"name": "income", "transformations": ["log", "standard_scale"]}, "city"]


@pytest.fixture
def new(tmp_path: Path) -> New:
    """Return a function that makes an output artifact."""
    return lambda name: Artifact(name, str(tmp_path / name))


def rows(count: int = 200, seed: int = 0) -> pl.DataFrame:
    """age, income (some missing), city; label follows from age and city, spend from age and income."""
    random = np.random.default_rng(seed)
    age = random.integers(18, 80, count)
    income = np.exp(random.normal(8, 0.5, count))
    city = random.choice(["lima", "oslo", "rome"], count)
    label = np.where((age > 45) ^ (city == "oslo"), "yes", "no")
    frame = pl.DataFrame({"age": age, "income": income, "city": city, "spend": 3 * age + income / 50, "label": label})
    return frame.with_columns(pl.when(pl.int_range(count) % 17 == 3).then(None).otherwise("income").alias("income"))


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    rows().write_csv(path)
    return path


@pytest.fixture
def dataset(new: New, csv: Path) -> Callable[..., Artifact]:
    """Return a function that prepares the table, and extracts features where they are given."""

    def make(features: list[Any] | None = None, **parameters: Any) -> Artifact:
        made = new("dataset")
        prepare(str(csv), made, new("m"), **parameters)
        if features is None:
            return made
        chosen = new("extracted")
        extract(made, chosen, new("m"), features)
        return chosen

    return make


@pytest.fixture
def trained(new: New) -> Callable[..., Artifact]:
    """Return a function that trains on a dataset and returns the model; its metadata hold the figures."""

    def make(dataset: Artifact, **parameters: Any) -> Artifact:
        model, metrics = new("model"), new("metrics")
        train(dataset, model, metrics, **parameters)
        model.metadata["metrics"] = metrics.metadata
        return model

    return make
