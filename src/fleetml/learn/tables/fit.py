"""The algorithms: each fitted to rows, and turned into ONNX."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from fleetml.errors import InvalidParameter
from fleetml.learn.algorithms import CLASSIFICATION, OPTIMIZERS, fault
from fleetml.learn.builder import IR_VERSION, OPSET, Builder
from fleetml.learn.tables import trees
from fleetml.learn.tables.transformations import ML_OPSET

Floats = npt.NDArray[np.float32]
Chosen = Mapping[str, Any]
PATIENCE = 20  # rounds or epochs without a better validation error that end early stopping


@dataclass(frozen=True)
class Step:
    """A network after an epoch: its error on the validation rows, and what it said of them [V, C]."""

    error: float
    said: Floats


@dataclass(frozen=True)
class Task:
    """Rows [N, F] and what is learnt from them: class numbers from 0, or standardised values. `threads` at most.

    To `steps` a network that stops early adds what it was after each epoch.
    """

    objective: str
    rows: Floats
    target: npt.NDArray[Any]
    validation_rows: Floats
    validation_target: npt.NDArray[Any]
    seed: int
    threads: int
    steps: list[Step] | None = None

    @property
    def classifies(self) -> bool:
        return self.objective == CLASSIFICATION


def checked(algorithm: str, hyperparameters: Chosen) -> dict[str, Any]:
    """Return the hyperparameters that are given (not None). Raises InvalidParameter for what the algorithm lacks."""
    if wrong := fault(algorithm, hyperparameters):
        raise InvalidParameter(f"{wrong[0]}: {wrong[1]}")
    return {name: value for name, value in hyperparameters.items() if value is not None and value != []}


def fit(algorithm: str, task: Task, hyperparameters: Chosen) -> Any:
    """Return the fitted estimator; `hyperparameters` are `checked`."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(task.threads):
        return _FITS[algorithm](task, hyperparameters)


def _rounds(chosen: Chosen, default: int) -> int:
    return int(chosen.get("n_estimators") or chosen.get("max_iterations") or default)


def _linear(task: Task, chosen: Chosen) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    penalty, steps = float(chosen.get("l2", 1.0)), int(chosen.get("max_iterations", 1000))
    if task.classifies:
        model = LogisticRegression(C=1 / max(penalty, 1e-9), max_iter=steps, random_state=task.seed)
    else:
        model = Ridge(alpha=penalty, max_iter=steps)
    return make_pipeline(StandardScaler(), model).fit(task.rows, task.target)


def _random_forest(task: Task, chosen: Chosen) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    return _trees(RandomForestClassifier if task.classifies else RandomForestRegressor, task, chosen)


def _extra_trees(task: Task, chosen: Chosen) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    return _trees(ExtraTreesClassifier if task.classifies else ExtraTreesRegressor, task, chosen)


def _trees(kind: Any, task: Task, chosen: Chosen) -> Any:
    model = kind(
        n_estimators=_rounds(chosen, 100),
        max_depth=int(chosen["max_depth"]) if "max_depth" in chosen else None,
        min_samples_leaf=int(chosen.get("min_samples_leaf", 1)),
        max_features=chosen.get("max_features", "sqrt" if task.classifies else 1.0),
        random_state=task.seed,
        n_jobs=task.threads,
    )
    return model.fit(task.rows, task.target)


def _xgboost(task: Task, chosen: Chosen) -> Any:
    import xgboost

    kind = xgboost.XGBClassifier if task.classifies else xgboost.XGBRegressor
    model = kind(
        n_estimators=_rounds(chosen, 200),
        max_depth=int(chosen.get("max_depth", 6)),
        learning_rate=chosen.get("learning_rate", 0.1),
        subsample=chosen.get("subsample", 1.0),
        colsample_bytree=chosen.get("max_features", 1.0),
        reg_lambda=chosen.get("l2", 1.0),
        base_score=0.5 if task.classifies else 0.0,
        tree_method="hist",
        early_stopping_rounds=PATIENCE if chosen.get("early_stopping") else None,
        random_state=task.seed,
        n_jobs=task.threads,
        verbosity=0,
    )
    held = [(task.validation_rows, task.validation_target)]
    return model.fit(task.rows, task.target, eval_set=held, verbose=False)


def _lightgbm(task: Task, chosen: Chosen) -> Any:
    import lightgbm

    kind = lightgbm.LGBMClassifier if task.classifies else lightgbm.LGBMRegressor
    depth = int(chosen.get("max_depth", -1))
    model = kind(
        n_estimators=_rounds(chosen, 200),
        max_depth=depth,
        num_leaves=int(chosen.get("num_leaves", min(31, 2**depth) if depth > 0 else 31)),
        learning_rate=chosen.get("learning_rate", 0.1),
        min_child_samples=int(chosen.get("min_samples_leaf", 20)),
        subsample=chosen.get("subsample", 1.0),
        subsample_freq=1 if "subsample" in chosen else 0,
        colsample_bytree=chosen.get("max_features", 1.0),
        reg_lambda=chosen.get("l2", 0.0),
        random_state=task.seed,
        n_jobs=task.threads,
        verbose=-1,
        deterministic=True,
        force_row_wise=True,
    )
    stop: list[Any] = [lightgbm.early_stopping(PATIENCE, verbose=False)] if chosen.get("early_stopping") else []
    held: list[Any] = [(task.validation_rows, task.validation_target)]
    return model.fit(task.rows, task.target, eval_set=held, callbacks=stop)


def _mlp(task: Task, chosen: Chosen) -> Any:
    """A network fitted epoch by epoch; early stopping keeps the one with the least validation error."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kind = MLPClassifier if task.classifies else MLPRegressor
    model = kind(
        hidden_layer_sizes=tuple(int(width) for width in chosen.get("hidden_layers", (64, 32))),
        alpha=float(chosen.get("l2", 1e-4)),
        learning_rate_init=float(chosen.get("learning_rate", 3e-3)),
        batch_size=min(int(chosen.get("batch_size", 64)), len(task.rows)),
        solver=chosen.get("optimizer", OPTIMIZERS[0]),
        random_state=task.seed,
    )
    scaler = StandardScaler().fit(task.rows)
    rows, held = scaler.transform(task.rows), scaler.transform(task.validation_rows)
    first: dict[str, Any] = {"classes": np.unique(task.target)} if task.classifies else {}
    best, least, since = model, np.inf, 0
    for _ in range(int(chosen.get("max_iterations", 60))):
        model.partial_fit(rows, task.target, **first)
        first = {}
        if chosen.get("early_stopping"):
            error = _network_error(model, held, task.validation_target)
            if task.steps is not None:
                task.steps.append(Step(error, outputs(model, held, task.classifies)))
            best, least, since = (copy.deepcopy(model), error, 0) if error < least else (best, least, since + 1)
            if since >= PATIENCE:
                break
    return make_pipeline(scaler, best)


def _network_error(model: Any, rows: Floats, target: npt.NDArray[Any]) -> float:
    """Return the log loss of classes, which tells an overfit network long before its accuracy does; else 1 - R²."""
    if not hasattr(model, "predict_proba"):
        return 1 - float(model.score(rows, target))
    said = model.predict_proba(rows)[np.arange(len(target)), target]
    return float(-np.log(np.clip(said, 1e-7, 1)).mean())


def _net(task: Task, chosen: Chosen) -> Any:
    """A network of torch; early stopping by the validation rows."""
    import torch

    from fleetml.learn.table_net import Shape, TableNet

    torch.set_num_threads(max(1, task.threads))
    named = {"l2": "weight_decay", "max_iterations": "epochs"}
    known = ("block", "width", "depth", "dropout", "learning_rate", "l2", "max_iterations", "batch_size")
    shape = Shape(**{named.get(name, name): chosen[name] for name in known if name in chosen})
    held = (task.validation_rows, task.validation_target) if chosen.get("early_stopping") else (None, None)
    steps = task.steps

    def watch(error: float, said: Floats) -> None:
        if steps is not None:
            steps.append(Step(error, said))

    return TableNet(shape, task.classifies, task.seed).fit(task.rows, task.target, held[0], held[1], watch)


class Constant:
    """What is said of every row: the classes' shares [C], or the mean; what a search falls back on."""

    def __init__(self, said: Floats) -> None:
        self.said = np.asarray(said, np.float32).reshape(1, -1)

    def predict_proba(self, rows: Floats) -> Floats:
        return np.repeat(self.said, len(rows), axis=0)

    predict = predict_proba


def _constant(task: Task, chosen: Chosen) -> Constant:
    if task.classifies:
        counts = np.bincount(task.target, minlength=int(task.target.max()) + 1)
        return Constant((counts / counts.sum()).astype(np.float32))
    return Constant(np.array([task.target.mean(dtype=np.float64)], np.float32))


_FITS: Mapping[str, Callable[[Task, Chosen], Any]] = {
    "constant": _constant,
    "linear": _linear,
    "random_forest": _random_forest,
    "extra_trees": _extra_trees,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "mlp": _mlp,
    "net": _net,
}


def convert(algorithm: str, estimator: Any, features: int, classifies: bool) -> onnx.ModelProto:
    """Return a fitted estimator as a graph rows [R, F] → its last output: probabilities [R, C] or values [R, 1]."""
    model = _CONVERSIONS.get(algorithm, _sklearn)(estimator, features, classifies)
    # The operators used (tree ensembles, matrix products) mean the same in every opset since 13.
    del model.opset_import[:]
    model.opset_import.extend([onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid("ai.onnx.ml", ML_OPSET)])
    model.ir_version = IR_VERSION
    model.graph.name = algorithm  # the converters draw one: the same model would be another file each time
    return model


def _sklearn(estimator: Any, features: int, classifies: bool) -> onnx.ModelProto:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    types = [("rows", FloatTensorType([None, features]))]
    options = {id(estimator): {"zipmap": False}} if classifies else None
    return convert_sklearn(
        estimator, initial_types=types, options=options, target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET}
    )


def _net_graph(estimator: Any, features: int, classifies: bool) -> onnx.ModelProto:
    return estimator.graph()


def _constant_graph(estimator: Constant, features: int, classifies: bool) -> onnx.ModelProto:
    made = Builder()
    width = estimator.said.shape[1]
    rows = made.op("Shape", "rows", start=0, end=1)
    shape = made.op("Concat", rows, made.integers(width), axis=0)
    made.op("Expand", made.constant(estimator.said), shape, name="said")
    return made.model({"rows": ["batch", features]}, {"said": ["batch", width]}, "constant")


_CONVERSIONS: Mapping[str, Callable[[Any, int, bool], onnx.ModelProto]] = {
    "random_forest": trees.forest_graph,
    "extra_trees": trees.forest_graph,
    "lightgbm": trees.lightgbm_graph,
    "xgboost": trees.xgboost_graph,
    "constant": _constant_graph,
    "net": _net_graph,
}


def outputs(estimator: Any, rows: Floats, classifies: bool) -> Floats:
    """Return what a fitted estimator says of rows: probabilities [R, C], or values [R, 1]."""
    said = estimator.predict_proba(rows) if classifies else np.asarray(estimator.predict(rows)).reshape(-1, 1)
    return np.asarray(said, dtype=np.float32)
