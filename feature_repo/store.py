"""Feast stores on this machine: Parquet offline (`fleetml.featurestore.offline`), SQLite online, all in one folder."""

import functools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("FEAST_USAGE", "False")  # read when feast is imported

from feast import FeatureStore, RepoConfig

from fleetml.errors import ConfigurationError

REGISTRY, ONLINE = "registry.db", "online.db"
ASOF = "fleetml.featurestore.offline.AsofOfflineStore"


def open_store(folder: Path, offline: str = ASOF) -> FeatureStore:
    """Return the store in `folder`, which is created if need be; nothing is applied to it.

    `offline` is the engine of its offline store.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = RepoConfig(
        project="fleetml",
        provider="local",
        registry=str(folder / REGISTRY),
        offline_store={"type": offline},
        online_store={"type": "sqlite", "path": str(folder / ONLINE)},
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


@functools.lru_cache(maxsize=4)
def _opened(folder: Path) -> FeatureStore:
    if not (folder / ONLINE).is_file():
        raise ConfigurationError(
            f"an online feature store must hold {ONLINE}, {folder} does not; run features.materialise"
        )
    return open_store(folder, offline="dask")  # unused online, and always there: serving has no DuckDB


def online_features(folder: Path, vm_ids: Sequence[str], references: Sequence[str]) -> dict[str, Mapping[str, float]]:
    """Return {vm_id: {reference: value}}; a value that is not known, or not a number, is left out.

    Raises ConfigurationError when nothing was materialised into `folder` yet.
    """
    rows = [{"vm_id": vm} for vm in vm_ids]
    # The answer's order is not that of the request: columns are taken by name.
    found = _opened(folder).get_online_features(features=list(references), entity_rows=rows).to_dict()
    names = {reference: reference.partition(":")[2] for reference in references}
    return {
        vm: {
            reference: float(value)
            for reference, name in names.items()
            if (value := found[name][row]) is not None and not math.isnan(value)
        }
        for row, vm in enumerate(vm_ids)
    }
