"""The tabular families: how each is fitted to rows of `tabular_rows`, and turned into ONNX.

Families that know the absolute error minimise it; the others minimise the squared error of the bounded target, whose
mean is near its median. `deadline` is a `time.monotonic()` second: a family that adds trees or epochs stops there.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from fleetml.errors import InvalidParameter
from fleetml.learn.builder import IR_VERSION, OPSET
from fleetml.learn.search_space import Hyperparameters, Range, Space
from fleetml.learn.windows import Floats

FAMILIES: dict[str, Space] = {
    "lightgbm": {
        "trees": Range(50, 400, 150, log=True),
        "leaves": Range(7, 127, 31, log=True),
        "learning_rate": Range(0.02, 0.3, 0.08, log=True),
        "min_rows": Range(20, 500, 60, log=True),
        "features": Range(0.3, 1.0, 0.7),
        "l2": Range(1e-3, 10.0, 0.1, log=True),
    },
    "xgboost": {
        "trees": Range(50, 400, 150, log=True),
        "depth": Range(3, 8, 5),
        "learning_rate": Range(0.02, 0.3, 0.08, log=True),
        "min_weight": Range(1.0, 100.0, 10.0, log=True),
        "features": Range(0.3, 1.0, 0.7),
        "l2": Range(1e-2, 100.0, 1.0, log=True),
    },
    "linear": {"penalty": Range(1e-6, 1e-2, 1e-4, log=True), "learning_rate": Range(1e-3, 1e-1, 1e-2, log=True)},
    "random_forest": {
        "trees": Range(10, 60, 30),
        "depth": Range(5, 12, 9),
        "min_rows": Range(10, 200, 30, log=True),
        "features": Range(0.1, 0.6, 0.3),
    },
    "extra_trees": {
        "trees": Range(10, 60, 30),
        "depth": Range(6, 14, 11),
        "min_rows": Range(5, 200, 20, log=True),
        "features": Range(0.2, 1.0, 0.6),
    },
    "sklearn_mlp": {
        "width": Range(16, 128, 48, log=True),
        "depth": Range(1, 2, 1),
        "penalty": Range(1e-6, 1e-1, 1e-3, log=True),
        "learning_rate": Range(5e-4, 2e-2, 3e-3, log=True),
    },
}
_EPOCHS = 12  # of the linear model and the MLP
_BLOCK = 5  # trees a forest grows between two looks at the clock


@dataclass(frozen=True)
class Table:
    """What a family is fitted to: rows [R, F], target [R] and weight [R], without NaN."""

    rows: Floats
    target: Floats
    weight: Floats


Fit = Callable[[Table, Hyperparameters, int, float], Any]


def fit(family: str, table: Table, hyperparameters: Hyperparameters, seed: int, deadline: float) -> Any:
    """Return the fitted estimator: it has `predict(rows) -> [R]`. Raises InvalidParameter for an unknown family."""
    if family not in _FITS:
        raise InvalidParameter(f"a tabular family must be one of {sorted(_FITS)}, got {family!r}; choose one of them")
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # steps run side by side; more threads than cores cost a factor of ten
        return _FITS[family](table, hyperparameters, seed, deadline)


def _lightgbm(table: Table, chosen: Hyperparameters, seed: int, deadline: float) -> Any:
    import lightgbm

    def stop(env: Any) -> None:
        if time.monotonic() > deadline:
            raise lightgbm.callback.EarlyStopException(env.iteration, [])

    model = lightgbm.LGBMRegressor(
        objective="l1",
        n_estimators=int(chosen["trees"]),
        num_leaves=int(chosen["leaves"]),
        learning_rate=chosen["learning_rate"],
        min_child_samples=int(chosen["min_rows"]),
        colsample_bytree=chosen["features"],
        reg_lambda=chosen["l2"],
        random_state=seed,
        n_jobs=1,
        verbose=-1,
        deterministic=True,
        force_row_wise=True,
    )
    return model.fit(table.rows, table.target, sample_weight=table.weight, callbacks=[stop])


def _xgboost(table: Table, chosen: Hyperparameters, seed: int, deadline: float) -> Any:
    import xgboost

    class Stop(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            return time.monotonic() > deadline

    model = xgboost.XGBRegressor(
        objective="reg:absoluteerror",
        n_estimators=int(chosen["trees"]),
        max_depth=int(chosen["depth"]),
        learning_rate=chosen["learning_rate"],
        min_child_weight=chosen["min_weight"],
        colsample_bytree=chosen["features"],
        reg_lambda=chosen["l2"],
        tree_method="hist",
        base_score=0.0,
        random_state=seed,
        n_jobs=1,
        callbacks=[Stop()],
    )
    model.fit(table.rows, table.target, sample_weight=table.weight)
    model.set_params(callbacks=None)
    return model


def _linear(table: Table, chosen: Hyperparameters, seed: int, deadline: float) -> Any:
    """Median regression by stochastic descent on the absolute error."""
    from sklearn.linear_model import SGDRegressor

    model = SGDRegressor(
        loss="epsilon_insensitive",
        epsilon=0.0,
        alpha=chosen["penalty"],
        eta0=chosen["learning_rate"],
        learning_rate="invscaling",
        average=True,
        random_state=seed,
    )
    return _epochs(model, table, deadline)


def _mlp(table: Table, chosen: Hyperparameters, seed: int, deadline: float) -> Any:
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(
        hidden_layer_sizes=(int(chosen["width"]),) * int(chosen["depth"]),
        alpha=chosen["penalty"],
        learning_rate_init=chosen["learning_rate"],
        batch_size=512,
        random_state=seed,
    )
    return _epochs(model, table, deadline)


def _epochs(model: Any, table: Table, deadline: float) -> Any:
    """Return a pipeline that standardises rows before a model that was fitted epoch by epoch."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(table.rows)
    scaled = scaler.transform(table.rows)
    weight = table.weight / table.weight.mean()
    for epoch in range(_EPOCHS):
        if epoch and time.monotonic() > deadline:
            break
        model.partial_fit(scaled, table.target, sample_weight=weight)
    return make_pipeline(scaler, model)


def _random_forest(table: Table, chosen: Hyperparameters, seed: int, deadline: float) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return _forest(RandomForestRegressor, table, chosen, seed, deadline)


def _extra_trees(table: Table, chosen: Hyperparameters, seed: int, deadline: float) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return _forest(ExtraTreesRegressor, table, chosen, seed, deadline)


def _forest(kind: Any, table: Table, chosen: Hyperparameters, seed: int, deadline: float) -> Any:
    """Return a forest of scikit-learn, each tree grown on half of the rows, a few trees at a time."""
    trees = int(chosen["trees"])
    model = kind(
        n_estimators=min(_BLOCK, trees),
        max_depth=int(chosen["depth"]),
        min_samples_leaf=int(chosen["min_rows"]),
        max_features=chosen["features"],
        bootstrap=True,
        max_samples=0.5,
        warm_start=True,
        random_state=seed,
        n_jobs=1,
    )
    model.fit(table.rows, table.target, sample_weight=table.weight)
    while model.n_estimators < trees and time.monotonic() < deadline:
        model.n_estimators = min(trees, model.n_estimators + _BLOCK)
        model.fit(table.rows, table.target, sample_weight=table.weight)
    return model


_FITS: Mapping[str, Fit] = {
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "linear": _linear,
    "random_forest": _random_forest,
    "extra_trees": _extra_trees,
    "sklearn_mlp": _mlp,
}


def convert(family: str, estimator: Any, features: int) -> onnx.ModelProto:
    """Return a fitted estimator as a graph rows [R, F] → transformed [R, 1]."""
    from skl2onnx.common.data_types import FloatTensorType

    types = [("rows", FloatTensorType([None, features]))]
    if family in ("lightgbm", "xgboost"):
        import onnxmltools

        if family == "lightgbm":
            model = onnxmltools.convert_lightgbm(of_float32(estimator.booster_), initial_types=types, target_opset=15)
        else:
            model = onnxmltools.convert_xgboost(estimator, initial_types=types, target_opset=15)
    else:
        from skl2onnx import convert_sklearn

        model = convert_sklearn(estimator, initial_types=types, target_opset={"": OPSET, "ai.onnx.ml": 1})
    # The operators used (a tree ensemble or matrix products) mean the same in every opset since 13.
    del model.opset_import[:]
    model.opset_import.extend([onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid("ai.onnx.ml", 1)])
    model.ir_version = IR_VERSION
    model.graph.name = family  # the converters draw one: the same model would be another file each time
    return model


def of_float32(booster: Any) -> Any:
    """Return the model with its thresholds rounded down to float32.

    A graph's thresholds are float32, and the converter rounds to the nearest: where two values of a column are neighbours
    in float32, that sends one of them the other way. x <= t is x <= (t rounded down) for every x of float32.
    """
    import lightgbm

    def line(text: str) -> str:
        if text.startswith("tree_sizes="):  # of the texts as they were; not needed
            return ""
        if not text.startswith("threshold="):
            return text
        exact = np.array(text.removeprefix("threshold=").split(), dtype=np.float64)
        near = exact.astype(np.float32)
        down = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)
        return "threshold=" + " ".join(repr(float(value)) for value in down)

    return lightgbm.Booster(model_str="\n".join(line(text) for text in booster.model_to_string().split("\n")))


def predict(estimator: Any, rows: Floats) -> Floats:
    """Return what a fitted estimator says of rows, [R]."""
    return np.asarray(estimator.predict(rows), dtype=np.float32).ravel()
