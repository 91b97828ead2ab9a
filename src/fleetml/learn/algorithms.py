"""Algorithms for any table: their hyperparameters and what a search tries. Light: imports no learning library."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetml.learn.search_space import Range, Space

CLASSIFICATION, REGRESSION = "classification", "regression"
OBJECTIVES = {
    CLASSIFICATION: CLASSIFICATION,
    "binary_classification": CLASSIFICATION,
    "multiclass_classification": CLASSIFICATION,
    REGRESSION: REGRESSION,
}
TRANSFORMATIONS = ("standard_scale", "min_max", "robust_scale", "log", "one_hot", "ordinal")
OPTIMIZERS = ("adam", "sgd")
METRICS = {  # name -> whether more is better
    "accuracy": True,
    "f1": True,
    "roc_auc": True,
    "log_loss": False,
    "r2": True,
    "rmse": False,
    "mae": False,
}
OF_OBJECTIVE = {CLASSIFICATION: ("accuracy", "f1", "roc_auc", "log_loss"), REGRESSION: ("rmse", "mae", "r2")}


@dataclass(frozen=True)
class Algorithm:
    """What an algorithm is told: the hyperparameters it knows, and those that are searched where nobody says which."""

    knows: tuple[str, ...]
    space: Space


ALGORITHMS: Mapping[str, Algorithm] = {
    "linear": Algorithm(("l2", "max_iterations"), {"l2": Range(1e-4, 100.0, 1.0, log=True)}),
    "random_forest": Algorithm(
        ("n_estimators", "max_iterations", "max_depth", "min_samples_leaf", "max_features"),
        {
            "n_estimators": Range(20, 200, 100, log=True),
            "max_depth": Range(3, 20, 12),
            "min_samples_leaf": Range(1, 50, 1, log=True),
        },
    ),
    "extra_trees": Algorithm(
        ("n_estimators", "max_iterations", "max_depth", "min_samples_leaf", "max_features"),
        {
            "n_estimators": Range(20, 200, 100, log=True),
            "max_depth": Range(3, 20, 14),
            "min_samples_leaf": Range(1, 50, 1, log=True),
        },
    ),
    "xgboost": Algorithm(
        (
            "n_estimators",
            "max_iterations",
            "max_depth",
            "learning_rate",
            "subsample",
            "max_features",
            "l2",
            "early_stopping",
        ),
        {
            "n_estimators": Range(30, 400, 150, log=True),
            "max_depth": Range(3, 10, 6),
            "learning_rate": Range(0.01, 0.3, 0.1, log=True),
            "subsample": Range(0.5, 1.0, 1.0),
            "l2": Range(1e-2, 100.0, 1.0, log=True),
        },
    ),
    "lightgbm": Algorithm(
        (
            "n_estimators",
            "max_iterations",
            "max_depth",
            "num_leaves",
            "learning_rate",
            "min_samples_leaf",
            "subsample",
            "max_features",
            "l2",
            "early_stopping",
        ),
        {
            "n_estimators": Range(30, 400, 150, log=True),
            "num_leaves": Range(7, 127, 31, log=True),
            "learning_rate": Range(0.01, 0.3, 0.1, log=True),
            "min_samples_leaf": Range(1, 100, 20, log=True),
            "l2": Range(1e-3, 10.0, 0.1, log=True),
        },
    ),
    "mlp": Algorithm(
        ("hidden_layers", "learning_rate", "max_iterations", "batch_size", "optimizer", "l2", "early_stopping"),
        {"learning_rate": Range(1e-4, 1e-1, 3e-3, log=True), "l2": Range(1e-6, 1e-1, 1e-4, log=True)},
    ),
}


def fault(algorithm: str, hyperparameters: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the name of a hyperparameter that cannot be, and what is wrong with it; None where all can be.

    None and an empty list stand for a value that is not given; the name is "algorithm" for an unknown one.
    """
    if algorithm not in ALGORITHMS:
        return "algorithm", f"must be one of {', '.join(ALGORITHMS)}, got {algorithm!r}; choose one"
    knows = ALGORITHMS[algorithm].knows
    given = {name: value for name, value in hyperparameters.items() if value is not None and value != []}
    for name, value in given.items():
        if name not in knows:
            can = " or ".join(other for other, known in ALGORITHMS.items() if name in known.knows)
            return (
                name,
                f"{algorithm} has no {name}, it has {', '.join(knows)}; remove it{can and f', or choose {can}'}",
            )
        if wrong := _wrong(name, value):
            return name, wrong
    if "max_iterations" in given and "n_estimators" in given:
        return "max_iterations", "is the same as n_estimators for an ensemble of trees; give one"
    return None


def _wrong(name: str, value: Any) -> str:
    """Return what is wrong with a value of the right type, "" for nothing."""
    if name == "optimizer" and value not in OPTIMIZERS:
        return f"must be one of {', '.join(OPTIMIZERS)}, got {value!r}; choose one"
    if name in _SHARES and not 0 < value <= 1:
        return f"must be above 0 and at most 1, got {value}; correct it"
    if name == "hidden_layers" and not all(isinstance(width, int) and width > 0 for width in value):
        return f"must hold the widths of layers, got {value}; write e.g. [64, 32]"
    if isinstance(value, int | float) and not isinstance(value, bool) and (value < 0 or (value == 0 and name != "l2")):
        return f"must be positive, got {value}; correct it"
    return ""


_SHARES = ("subsample", "max_features")
