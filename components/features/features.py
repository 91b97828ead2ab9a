"""From the canonical table to the feature table and to the windows of the three splits."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from components.features.grid import Cutter, sampled
from components.features.table import feature_table, write
from fleetml.component import Artifact
from fleetml.data import schema
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.windows import Floats, Meta, Windows

if TYPE_CHECKING:
    import pandas as pd

STRIDE = 12  # steps between training origins before sampling: one hour


def features(
    data: Artifact,
    features: Artifact,
    train: Artifact,
    val: Artifact,
    test: Artifact,
    metrics: Artifact,
    target: str = "bandwidth",
    context: int = 288,
    horizon: int = 48,
    test_windows: int = 6,
    max_windows: int = 4000,
    seed: int = 0,
) -> None:
    """Write the feature table and the windows. Raises InvalidData for data that give no window in a split.

    Raises InvalidParameter for a count below 1, an unknown target, or a seed that the searches do not take.
    """
    _check(context=context, horizon=horizon, test_windows=test_windows, max_windows=max_windows)
    _check_seed(seed)
    schema.target_columns(target)
    table = feature_table(pl.scan_parquet(data.path))
    splits = _windows(table, Meta(target=target, context=context, horizon=horizon), test_windows, max_windows, seed)
    write(table, features.path)
    joined = with_covariates(splits, features.path)
    for artifact in (train, val, test):
        joined[artifact.name].save(artifact.path)
    vms = len(np.unique(joined["train"].vm_id))
    metrics.log(train_windows=len(joined["train"]), test_windows=len(joined["test"]), vms=vms, rows=len(table))


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise InvalidParameter(f"{name} must be at least 1, got {value}; give a positive number")


def _check_seed(seed: int) -> None:
    """The searches after this step draw from the same seed; what Optuna and scikit-learn take is the narrowest."""
    if not 0 <= seed < 2**32:
        raise InvalidParameter(f"seed must be from 0 to 2**32 - 1, got {seed}; give another seed")


def _windows(table: pl.DataFrame, meta: Meta, test_windows: int, most: int, seed: int) -> dict[str, Windows]:
    column = schema.TARGETS[meta.target]
    if table[column].is_null().all():
        raise InvalidData(
            f"target {meta.target!r} needs values of {' and '.join(schema.target_columns(meta.target))}, all are missing; "
            "choose another target or mend the source"
        )
    cutter = Cutter(table, column, meta, test_windows)
    found = {name: cutter.windows(cuts) for name, cuts in cutter.cut(STRIDE).items()}
    for name, windows in found.items():
        if not len(windows):
            raise InvalidData(
                f"split {name!r} needs at least one window whose history is at most 20 % missing, got none of "
                f"{table['vm_id'].n_unique()} VMs; give data with fewer gaps, or VMs that live longer than "
                f"{meta.context + meta.horizon} steps"
            )
    return {**found, "train": sampled(found["train"], most, seed), "val": sampled(found["val"], most, seed)}


def with_covariates(splits: dict[str, Windows], table: Path) -> dict[str, Windows]:
    """Return the windows with the features that Feast's point-in-time join finds at their origins."""
    import pandas as pd

    from feature_repo.definitions import REFERENCES, SERVICE, VIEW, definitions, registered
    from feature_repo.store import open_store

    keys = pd.DataFrame(
        {
            "vm_id": np.concatenate([w.vm_id for w in splits.values()]),
            "event_timestamp": pd.to_datetime(np.concatenate([w.origin for w in splits.values()]), utc=True),
        }
    ).drop_duplicates()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        made = definitions({VIEW: table})
        store.apply(made)
        known = store.get_historical_features(keys, features=list(REFERENCES)).to_df()
    names = [reference.partition(":")[2] for reference in REFERENCES]
    known = known.set_index(["vm_id", "event_timestamp"])[names]
    service = registered(SERVICE, made)
    return {
        name: replace(
            windows,
            covariates=_at(known, windows),
            meta=replace(windows.meta, covariates=tuple(REFERENCES), feature_service=service),
        )
        for name, windows in splits.items()
    }


def _at(known: pd.DataFrame, windows: Windows) -> Floats:
    import pandas as pd

    index = pd.MultiIndex.from_arrays([windows.vm_id, pd.to_datetime(windows.origin, utc=True)])
    return known.reindex(index).to_numpy(dtype=np.float32)
