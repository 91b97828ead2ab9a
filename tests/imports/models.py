"""Small models in the formats that are imported, each written by its own library."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(200, 4)).astype(np.float32)
CLASS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)
NUMBER = 50 + 3 * ROWS[:, 0] + RANDOM.normal(size=200) / 10


def onnx(path: Path) -> None:
    from fleetml.learn.builder import Builder

    made = Builder()
    made.op("MatMul", "rows", made.constant(np.arange(8, dtype=np.float32).reshape(4, 2)), name="said")
    path.write_bytes(made.model({"rows": ["batch", 4]}, {"said": ["batch", 2]}, "given").SerializeToString())


def forest(path: Path) -> None:
    import skops.io
    from sklearn.ensemble import RandomForestClassifier

    skops.io.dump(RandomForestClassifier(10, random_state=0).fit(ROWS, CLASS), path)


def xgboost(path: Path) -> None:
    import xgboost

    trained = xgboost.train({"objective": "binary:logistic", "max_depth": 3}, xgboost.DMatrix(ROWS, CLASS), 8)
    path.write_bytes(trained.save_raw("ubj"))


def lightgbm(path: Path) -> None:
    import lightgbm

    parameters = {"objective": "regression", "verbose": -1, "num_threads": 1}
    path.write_text(lightgbm.train(parameters, lightgbm.Dataset(ROWS, NUMBER), 8).model_to_string())


def torch(path: Path) -> None:
    import torch

    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()
    free = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(network, (torch.zeros(2, 4),), dynamic_shapes=free), path)


WRITTEN: dict[str, Callable[[Path], None]] = {
    "onnx": onnx,
    "skops": forest,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "torch": torch,
}
