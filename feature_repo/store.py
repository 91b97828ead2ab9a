"""The project's Feast store: Parquet offline (`fleetml.featurestore.offline`), SQLite online, all in one folder.

A ``feature_store.yaml`` in the folder, as Feast knows it, goes before these defaults: another online store, say. It may
name variables of the environment, ${REDIS_PASSWORD}.
"""

import functools
import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("FEAST_USAGE", "False")  # read when feast is imported

from feast import FeatureStore, RepoConfig

from feature_repo import derived
from feature_repo.definitions import REFERENCES, TTL
from feature_repo.services import require
from fleetml.errors import ConfigurationError

REGISTRY, ONLINE, CONFIG = "registry.db", "online.db", "feature_store.yaml"
ASOF = "fleetml.featurestore.offline.AsofOfflineStore"


def open_store(folder: Path, offline: str = "") -> FeatureStore:
    """Return the store in `folder`, which is created if need be; nothing is applied to it.

    `offline` is the engine of its offline store, whatever its configuration says. Raises ConfigurationError for a
    ``feature_store.yaml`` that Feast does not take.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "project": "fleetml",
        "provider": "local",
        "registry": str(folder / REGISTRY),
        "offline_store": {"type": ASOF},
        "online_store": {"type": "sqlite", "path": str(folder / ONLINE)},
        "entity_key_serialization_version": 3,
        "repo_path": folder,  # where Feast keeps its statistics
        **_configured(folder / CONFIG),
    }
    if offline:
        settings["offline_store"] = {"type": offline}
    try:
        return FeatureStore(config=RepoConfig(**settings))
    except Exception as error:  # Feast's own, pydantic's
        if not (folder / CONFIG).exists():
            raise
        raise ConfigurationError(
            f"{folder / CONFIG} must be a configuration that Feast takes: {error}; mend it"
        ) from error


def _configured(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    import yaml

    try:
        found = yaml.safe_load(os.path.expandvars(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} must be a YAML document: {error}; mend it") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path} must hold the settings of a Feast store, got {found!r}; mend it")
    return found


@functools.lru_cache(maxsize=4)
def opened(folder: Path) -> FeatureStore:
    """Return the store for its online features. Raises ConfigurationError when nothing was materialised into it yet."""
    if not (folder / REGISTRY).is_file() and not (folder / CONFIG).is_file():
        raise ConfigurationError(
            f"an online feature store must hold {REGISTRY}, {folder} does not; run features.materialise"
        )
    return open_store(folder, offline="dask")  # unused online, and always there: serving has no DuckDB


def check_service(folder: Path, service: str) -> None:
    """Raise ConfigurationError where the store in `folder` lacks a feature service, or means something else by it."""
    store = opened(folder)
    store.refresh_registry()
    require(service, store, folder)


def online_features(
    folder: Path, vm_ids: Sequence[str], references: Sequence[str], at: datetime | None = None
) -> dict[str, Mapping[str, float]]:
    """Return {vm_id: {reference: value}} as known at the moment `at` (aware; default: now).

    Left out is a value that is not known, is no number, is older than the TTL then, as in the offline join, or was
    not there yet. Raises ConfigurationError when nothing was materialised into `folder` yet.
    """
    rows = [{"vm_id": vm} for vm in vm_ids]
    # What is made on demand has no time of its own, but that of the view it is made of.
    made = {reference for reference in references if reference.startswith(f"{derived.VIEW}:")}
    asked = dict.fromkeys([*references, *(REFERENCES[:1] if made else ())])
    # The answer's order is not that of the request: columns are taken by name.
    answer = opened(folder).get_online_features(features=list(asked), entity_rows=rows)
    found = answer.to_dict(include_event_timestamps=True)
    names = {reference: reference.partition(":")[2] for reference in asked}
    times = {ref: found[f"{names[REFERENCES[0] if ref in made else ref]}__ts"] for ref in references}
    moment = (at or datetime.now(UTC)).timestamp()
    oldest = moment - TTL.total_seconds()
    return {
        vm: {
            reference: float(value)
            for reference in references
            if (value := found[names[reference]][row]) is not None
            and not math.isnan(value)
            and oldest <= times[reference][row] <= moment
        }
        for row, vm in enumerate(vm_ids)
    }
