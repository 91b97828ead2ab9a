"""The truth that forecasts are judged by, binned as the features are (docs/adr/0010)."""

from pathlib import Path

import polars as pl

from components.features.table import feature_table
from fleetml.component import Artifact
from fleetml.data import schema
from fleetml.errors import ConfigurationError
from fleetml.serving import truth


def observe(data: Artifact, metrics: Artifact, serving_dir: str, model_name: str) -> None:
    """Keep the target's values of a canonical table as the truth of the model that is named after it.

    A model that forecasts no feature has no truth: nothing is kept. Raises ConfigurationError without a serving folder.
    """
    root = Path(serving_dir)
    if not serving_dir or not root.is_dir():
        raise ConfigurationError(
            f"the serving folder must exist, {serving_dir!r} does not; train and deploy a model, or mend serving_dir"
        )
    if model_name not in schema.TARGETS:
        metrics.log(values=0, note=f"{model_name} is none of the targets {', '.join(schema.TARGETS)}")
        return
    table = feature_table(pl.scan_parquet(data.path))
    values = table.select("vm_id", timestamp="event_timestamp", value=schema.TARGETS[model_name])
    metrics.log(values=truth.write(root, model_name, values), vms=values["vm_id"].n_unique())
