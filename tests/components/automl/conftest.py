"""A small table, and the search of it as the step runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.automl import portfolio
from components.automl.automl_tabular import automl_tabular
from fleetml.component import Artifact
from fleetml.learn.tables import table
from fleetml.learn.tables.table import SPLIT, Feature, Recipe, Table

Run = Callable[..., dict[str, Artifact]]
OUTPUTS = ("dataset", "model", "leaderboard", "report", "metrics")


def rows(count: int = 240, seed: int = 0) -> pl.DataFrame:
    """age, income (some missing), city; label follows from age and city, spend from age and income."""
    random = np.random.default_rng(seed)
    age = random.integers(18, 80, count)
    income = np.exp(random.normal(8, 0.5, count))
    city = random.choice(["lima", "oslo", "rome"], count)
    label = np.where((age > 45) ^ (random.random(count) < 0.1), "yes", "no")
    frame = pl.DataFrame({"age": age, "income": income, "city": city, "spend": 3 * age + income / 50, "label": label})
    return frame.with_columns(pl.when(pl.int_range(count) % 17 == 3).then(None).otherwise("income").alias("income"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that searches a table and returns the artifacts; trees are few, so that it is quick."""
    monkeypatch.setattr(portfolio, "MOST_ROUNDS", 20)
    monkeypatch.setattr(portfolio, "FOREST_TREES", 10)
    monkeypatch.setattr(portfolio, "MOST_EPOCHS", 8)

    def search(frame: pl.DataFrame, target: str, objective: str, **parameters: Any) -> dict[str, Artifact]:
        made = {name: Artifact(name, str(tmp_path / name)) for name in OUTPUTS}
        parts = pl.Series(SPLIT, np.where(np.arange(len(frame)) % 5 == 4, "test", "train").tolist(), pl.String)
        features = tuple(Feature(name, table.infer(frame, name)) for name in frame.columns if name != target)
        table.write(Table(frame.with_columns(parts), Recipe(target, objective, features)), made["dataset"].path)
        given = {"trials": 4, "timeout_seconds": 300, "workers": 1, **parameters}
        automl_tabular(**made, **given)
        return made

    return search
