"""What AutoML searches, and the good configurations it begins with (portfolio.json), of classes and of values."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml.learn.algorithms import CLASSIFICATION
from fleetml.learn.search_space import Range, Space

_BOOSTING = {
    "learning_rate": Range(0.01, 0.3, 0.1, log=True),
    "subsample": Range(0.5, 1.0, 1.0),
    "max_features": Range(0.3, 1.0, 1.0),
    "l2": Range(1e-3, 30.0, 1.0, log=True),
}
_FOREST = {
    "max_depth": Range(4, 16, 14),
    "min_samples_leaf": Range(1, 20, 2, log=True),
    "max_features": Range(0.1, 1.0, 0.5),
}
SPACES: Mapping[str, Space] = {
    "lightgbm": {
        **_BOOSTING,
        "num_leaves": Range(4, 128, 31, log=True),
        "min_samples_leaf": Range(1, 60, 20, log=True),
    },
    "linear": {"l2": Range(1e-3, 100.0, 1.0, log=True)},
    "mlp": {
        "width": Range(16, 256, 96, log=True),
        "depth": Range(1, 3, 2),
        "learning_rate": Range(3e-4, 1e-2, 2e-3, log=True),
        "l2": Range(1e-6, 1.0, 1e-4, log=True),
        "batch_size": Range(32, 256, 64, log=True),
    },
    "net": {
        "width": Range(32, 256, 128, log=True),
        "depth": Range(1, 3, 2),
        "dropout": Range(0.0, 0.5, 0.2),
        "learning_rate": Range(5e-4, 1e-2, 2e-3, log=True),
        "l2": Range(1e-5, 0.1, 1e-3, log=True),
        "batch_size": Range(32, 256, 64, log=True),
    },
    "extra_trees": _FOREST,
    "xgboost": {**_BOOSTING, "max_depth": Range(2, 10, 6)},
    "random_forest": _FOREST,
}
SIMPLE = ("linear",)  # what few rows bear
BOOSTED, NETWORKS, FORESTS = ("lightgbm", "xgboost"), ("mlp", "net"), ("random_forest", "extra_trees")
MOST_ROUNDS, FOREST_TREES = 1500, 100
MOST_EPOCHS, LEAST_BATCHES, MOST_BATCH = 60, 30, 512
DEEP, LEAST_TREES = Range(4, 24, 16), 25  # of forests of values
# Of the size limit, what one forest may take; of a graph, what a leaf takes at most: two nodes, and leaves hold 1.6 times their least
FOREST_ROOM, LEAF_MB = 0.6, 82e-6 / 1.6
FILE = Path(__file__).with_name("portfolio.json")


def spaces(objective: str) -> dict[str, Space]:
    """Return the space of each family: forests of values may ask more, as a value is told by finer leaves than a class."""
    if objective == CLASSIFICATION:
        return dict(SPACES)
    return {name: {**space, "max_depth": DEEP} if name in FORESTS else space for name, space in SPACES.items()}


def starts(families: Mapping[str, Space], objective: str) -> list[dict[str, Any]]:
    """Return the portfolio's configurations of these families as points of their space, the most promising first."""
    found = []
    for entry in json.loads(FILE.read_text())[objective]:
        family = entry["family"]
        if family in families:
            values = {name: entry.get(name, field.default) for name, field in families[family].items()}
            found.append({"family": family, **{f"{family}.{name}": value for name, value in values.items()}})
    return found


def hyperparameters(
    family: str, point: Mapping[str, Any], rows: int, size_limit_mb: float, objective: str
) -> dict[str, Any]:
    """Return a point of a family's space as what `fleetml.learn.tables.fit` takes for so many rows.

    What is fitted in steps stops early; a network's batches grow with the rows. As its graph must stay small, a forest of many rows has
    larger leaves; one of values has fewer trees first, `LEAST_TREES` at least.
    """
    chosen = dict(point)
    if family in BOOSTED:
        return {**chosen, "n_estimators": MOST_ROUNDS, "early_stopping": True}
    if family in NETWORKS:
        chosen["batch_size"] = min(MOST_BATCH, max(int(chosen["batch_size"]), rows // LEAST_BATCHES))
        chosen |= {"max_iterations": MOST_EPOCHS, "early_stopping": True}
        if family == "mlp":
            chosen["hidden_layers"] = [int(chosen.pop("width"))] * int(chosen.pop("depth"))
        return chosen
    if family in FORESTS:
        tree = rows * LEAF_MB / (FOREST_ROOM * size_limit_mb)  # of the room, with a leaf for each row
        leaf, count = int(chosen["min_samples_leaf"]), FOREST_TREES
        if objective != CLASSIFICATION and tree * count > leaf:
            count = max(LEAST_TREES, int(leaf / tree))
        return {**chosen, "n_estimators": count, "min_samples_leaf": max(leaf, math.ceil(tree * count))}
    return chosen
