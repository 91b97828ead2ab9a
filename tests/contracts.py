"""Documents that callers already send, as they are but for the place of the data."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

_TRAINING: dict[str, Any] = {
    "workflow_id": "training_pipeline_v1",
    "name": "Model Training Pipeline",
    "tasks": [
        {
            "task_id": "preprocess_data",
            "task_type": "data_preprocessing",
            "dependencies": [],
            "parameters": {"dataset_path": "rows.csv"},
        },
        {
            "task_id": "train_model",
            "task_type": "model_training",
            "dependencies": ["preprocess_data"],
            "parameters": {"algorithm": "random_forest"},
        },
    ],
}


def training() -> dict[str, Any]:
    """The workflow of two tasks, which reads `rows.csv` beside it."""
    return copy.deepcopy(_TRAINING)


def rows(folder: Path, name: str = "rows.csv") -> Path:
    """Write a small table whose label follows from its column b; return the file."""
    lines = [f"{at},{at * 7 % 11},{'yes' if at * 7 % 11 > 5 else 'no'}" for at in range(120)]
    (folder / name).write_text("\n".join(["a,b,label", *lines]))
    return folder / name
