"""The task types of a workflow and the component that each is (`components/tabular`, `components/automl`)."""

from __future__ import annotations

from fleetml.frozen import frozen

DATASET, MODEL = "Dataset", "Model"


@frozen
class TaskType:
    """What a task of this type takes and makes. `takes` and `may_take` name artifact inputs by kind, `makes` outputs.

    `defaults` are parameters the compiler gives where a task says nothing. A type that looks beyond its inputs is not
    `cached` unless the task says so. Where `from_registry`, a model may be named (`model_name`) instead of made.
    """

    component: str
    takes: tuple[str, ...] = ()
    may_take: tuple[str, ...] = ()
    makes: tuple[tuple[str, str], ...] = ()
    cached: bool = True
    required: tuple[str, ...] = ()
    from_registry: bool = False


TYPES: dict[str, TaskType] = {
    "DATA_PREPROCESSING": TaskType("prepare", makes=((DATASET, "dataset"),), cached=False, required=("dataset_path",)),
    "FEATURE_EXTRACTION": TaskType("extract", takes=(DATASET,), makes=((DATASET, "extracted"),)),
    "MODEL_TRAINING": TaskType("train", takes=(DATASET,), makes=((MODEL, "model"),)),
    "MODEL_VALIDATION": TaskType("validate", takes=(DATASET, MODEL), from_registry=True),
    "HYPERPARAMETER_TUNING": TaskType("tune", takes=(DATASET,), makes=((MODEL, "model"),)),
    "AUTOML": TaskType("automl-tabular", takes=(DATASET,), makes=((MODEL, "model"),)),
    "MODEL_DEPLOYMENT": TaskType("deploy", takes=(MODEL,), may_take=(DATASET,), cached=False),
    "BATCH_INFERENCE": TaskType("predict", takes=(MODEL,), may_take=(DATASET,), cached=False, from_registry=True),
    "MODEL_EVALUATION": TaskType("evaluate", takes=(DATASET, MODEL), from_registry=True),
}
INPUTS = {DATASET: "dataset", MODEL: "model"}
CHAMPION = "champion"
"""The component that fetches a named model from the registry."""
INSTALLATION = ("registry", "serving_dir")
"""Parameters that a run gets from the settings where nobody gives them; they are inputs of the pipeline."""


def makers(kind: str) -> str:
    """Return the types that make a dataset or a model, for messages."""
    return " or ".join(name for name, known in TYPES.items() if kind in dict(known.makes))
