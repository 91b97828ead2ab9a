"""On credit-g (texts, classes) and bike (numbers, a regression): an ensemble of five, stacked, is one graph that equals Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fleetml.learn.tables import fit
from fleetml.learn.tables.assemble import Ensemble, Stacking
from fleetml.learn.tables.equality import prove
from fleetml.learn.tables.heads import heads
from fleetml.learn.tables.members import head_of, member
from fleetml.learn.tables.table import Feature, Recipe, infer
from fleetml.learn.tables.target import described, learnt

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
CHOSEN: dict[str, dict[str, Any]] = {
    "linear": {},
    "mlp": {"hidden_layers": [16], "max_iterations": 10},
    "extra_trees": {"n_estimators": 30, "max_depth": 10},
    "xgboost": {"n_estimators": 30},
    "lightgbm": {"n_estimators": 30},
}


@pytest.mark.parametrize(
    ("place", "target", "kind"),
    [
        ("tabular_amlb/credit-g.csv.gz", "target", "classification"),
        ("uci_regression/bike.parquet", "y", "regression"),
    ],
)
def test_a_stacked_ensemble_of_real_data_is_one_graph(place: str, target: str, kind: str) -> None:
    if not (DATA / place).exists():
        pytest.skip(f"needs {place}, which lies outside the repository")
    read = pl.read_parquet if place.endswith("parquet") else pl.read_csv
    frame = read(DATA / place).head(4000)
    features = tuple(Feature(c, infer(frame, c)) for c in frame.columns if c not in (target, "test_fold"))
    fold = np.arange(len(frame)) % 4
    train, held = frame.filter(pl.Series(fold > 0)), frame.filter(pl.Series(fold == 0))
    recipe = Recipe(target, kind, features)
    about = described(recipe, "ensemble", {}, train[target])
    known, judged = learnt(about, train[target]), learnt(about, held[target])
    made = heads(train, recipe, known, np.arange(len(train)) % 5, classes=len(about.classes))
    some = []
    for name, chosen in CHOSEN.items():
        head = head_of(made, name)
        task = fit.Task(kind, made.rows[head], known, made.apply(head, held), judged, 0, 1)
        some.append(member(made, name, fit.fit(name, task, chosen), about.classifies))
    width = max(1, len(about.classes))
    matrix = np.tile(np.eye(width, dtype=np.float32), (len(some), 1)) / len(some)
    layer = Stacking(matrix, np.zeros(width, np.float32), about.classifies)
    whole = Ensemble(made, tuple(some), layer, about, 1.3 if about.classifies else 1.0)
    found = prove(whole.graph(), whole.predict, held)
    assert found.rows == len(held) + 200
    said = whole.predict(held)
    if said.probabilities is not None:
        assert (said.prediction == held[target].to_numpy()).mean() > 0.72
    else:
        error = np.sqrt(((said.prediction - held[target].to_numpy()) ** 2).mean())
        assert error < 0.2 * about.scale[1]
