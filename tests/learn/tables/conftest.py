"""A table with every kind of column, and what the tests learn from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from fleetml.learn.tables import fit
from fleetml.learn.tables.heads import Heads, heads
from fleetml.learn.tables.members import Member, head_of, member
from fleetml.learn.tables.model import Description
from fleetml.learn.tables.table import CATEGORICAL, DATE, NUMERIC, Feature, Recipe
from fleetml.learn.tables.target import described, learnt

FEATURES = (
    Feature("size", NUMERIC),
    Feature("gap", NUMERIC),  # some missing
    Feature("flag", NUMERIC),  # truth values
    Feature("when", DATE),
    Feature("colour", CATEGORICAL),
    Feature("street", CATEGORICAL),  # more than 64
)


def rows(count: int = 300, seed: int = 0) -> pl.DataFrame:
    """Six columns, of which some values are missing; `label`, `level` and `price` follow from them."""
    random = np.random.default_rng(seed)
    size, gap = np.exp(random.normal(3, 1, count)), random.normal(0, 5, count)
    days, street = random.integers(0, 2000, count), random.integers(0, 90, count)
    colour = random.choice(["red", "green", "blue"], count, p=[0.5, 0.3, 0.2])
    when = [datetime(2019, 1, 1) + timedelta(days=int(day), hours=int(day) % 24) for day in days]
    price = 2 * np.log(size) + (colour == "red") * gap + (street % 7) + random.normal(0, 0.3, count)
    frame = pl.DataFrame({"size": size, "gap": gap, "flag": size > 20, "when": when, "colour": colour})
    frame = frame.with_columns(
        pl.Series("street", [f"street {number}" for number in street]),
        pl.Series("price", price),
        pl.Series("label", np.where(price > np.median(price), "dear", "cheap")),
        pl.Series("level", np.digitize(price, np.quantile(price, (0.3, 0.7)))),
    )
    missing = pl.int_range(count) % 13 == 4
    return frame.with_columns(
        *(pl.when(missing).then(None).otherwise(name).alias(name) for name in ("gap", "when", "colour"))
    )


@dataclass(frozen=True)
class Learner:
    """Training rows with their heads, and validation rows."""

    train: pl.DataFrame
    held: pl.DataFrame
    about: Description
    heads: Heads

    def member(self, algorithm: str, name: str = "", **chosen: Any) -> Member:
        """Return a member fitted to the training rows."""
        head, target = head_of(self.heads, algorithm), self.about.target
        task = fit.Task(
            self.about.objective,
            self.heads.rows[head],
            learnt(self.about, self.train[target]),
            self.heads.apply(head, self.held),
            learnt(self.about, self.held[target]),
            seed=0,
            threads=1,
        )
        return member(self.heads, algorithm, fit.fit(algorithm, task, chosen), self.about.classifies, name=name)


def learner(target: str, features: tuple[Feature, ...] = FEATURES, count: int = 300) -> Learner:
    """Return what learns `label` (two classes), `level` (three) or `price` (numbers)."""
    train, held = rows(count), rows(150, seed=1)
    recipe = Recipe(target, "regression" if target == "price" else "classification", features)
    about = described(recipe, "ensemble", {}, train[target])
    known = learnt(about, train[target])
    made = heads(train, recipe, known, np.arange(count) % 5, classes=len(about.classes))
    return Learner(train, held, about, made)


@pytest.fixture(scope="session")
def learners() -> Callable[[str], Learner]:
    """Return a function that makes a learner of a target once."""
    made: dict[str, Learner] = {}

    def get(target: str) -> Learner:
        if target not in made:
            made[target] = learner(target)
        return made[target]

    return get
