"""A feature service is named by what its features mean; a model is served only where that has not changed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from feast import FeatureService

from feature_repo import definitions as project
from feature_repo.services import require
from feature_repo.store import open_store
from fleetml.errors import ConfigurationError


def objects(folder: Path) -> list[object]:
    tables = {view: folder / f"{view}.parquet" for view in ("vm_metrics", "host_metrics", "region_metrics")}
    return project.definitions(tables)


def test_the_name_is_the_same_wherever_the_tables_are_and_in_whatever_order(tmp_path: Path) -> None:
    here, there = (objects(tmp_path / place) for place in ("a", "b"))
    for service in project.SERVICES:
        assert project.registered(service, here) == project.registered(service, reversed(there))


@pytest.mark.parametrize("service", project.SERVICES)
def test_a_service_in_the_store_is_known_by_its_name(tmp_path: Path, service: str) -> None:
    store, made = open_store(tmp_path), objects(tmp_path)
    _touch(tmp_path)
    store.apply(made)
    require(project.registered(service, made), open_store(tmp_path), tmp_path)


def test_one_that_is_missing_is_named_with_what_there_is(tmp_path: Path) -> None:
    store, made = open_store(tmp_path), objects(tmp_path)
    _touch(tmp_path)
    store.apply([each for each in made if not isinstance(each, FeatureService)])
    with pytest.raises(ConfigurationError, match=r"must have the feature service forecaster-.* it has none"):
        require(project.registered("forecaster", made), store, tmp_path)


def test_one_whose_features_mean_something_else_now_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, made = open_store(tmp_path), objects(tmp_path)
    _touch(tmp_path)
    store.apply(made)
    monkeypatch.setattr(project, "TTL", timedelta(hours=1))
    store.apply(objects(tmp_path))
    with pytest.raises(ConfigurationError, match=r"has changed in .* it is forecaster-"):
        require(project.registered("forecaster", made), store, tmp_path)


def _touch(folder: Path) -> None:
    """Feast looks at the tables when it is told of them."""
    import polars as pl

    for view in ("vm_metrics", "host_metrics", "region_metrics"):
        pl.DataFrame({"x": [1]}).write_parquet(folder / f"{view}.parquet")
