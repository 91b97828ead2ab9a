"""BATCH_INFERENCE: predictions for every row of a file or a dataset."""

import polars as pl

from components.tabular import source
from fleetml.component import Artifact
from fleetml.data.schema import aside
from fleetml.errors import InvalidParameter
from fleetml.learn.tables import table
from fleetml.learn.tables.model import TabularModel
from fleetml.learn.tables.table import SPLIT


def predict(
    model: Artifact,
    predictions: Artifact,
    metrics: Artifact,
    dataset: Artifact | None = None,
    dataset_path: str = "",
    format: str = "",
    output_path: str = "",
) -> None:
    """Write the rows with `prediction`, and for classes `probability` (of the one predicted), as Parquet.

    Rows are those of `dataset_path`, else of `dataset`. With `output_path` (an absolute path) a copy is written there.
    Raises InvalidParameter, InvalidData.
    """
    if not dataset_path and dataset is None:
        raise InvalidParameter("batch inference needs rows: give dataset_path, or a dependency that makes a dataset")
    frame = source.read(dataset_path, format) if dataset_path else table.read(dataset.path).frame.drop(SPLIT)  # type: ignore[union-attr]
    known = TabularModel(model.path)
    said = known.predict(frame)
    made = frame.with_columns(pl.Series("prediction", said.prediction.tolist()))
    if said.probabilities is not None:
        made = made.with_columns(pl.Series("probability", said.probabilities.max(axis=1)))
    for place in [str(predictions.path), *([output_path] if output_path else [])]:
        with aside(type(predictions.path)(place)) as temporary:
            made.write_parquet(temporary, compression="zstd")
    predictions.metadata.update(target=known.about.target, rows=len(made))
    metrics.log(rows=len(made), algorithm=known.about.algorithm, target=known.about.target)
