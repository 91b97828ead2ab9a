"""Garbage beside runs and results: environments of steps, records of searches, results that machines share."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fleetml import artifact_store, artifacts, cache
from fleetml.collect import Needed, collect
from fleetml.records import Run
from fleetml.runners.packages import _alone, unused
from fleetml.settings import Settings

DAY = 86400.0
OLD = time.time() - 40 * DAY


def old(place: Path) -> Path:
    os.utime(place, (OLD, OLD))
    return place


def environment(home: Path, name: str) -> Path:
    made = home / "environments" / name
    (made / "bin").mkdir(parents=True)
    (made / "bin/python").write_text("x" * 100)
    old(made)
    lock = made.with_suffix(".lock")
    lock.touch()
    return old(lock)


def found(settings: Settings, needed: Needed | None = None, **how: bool) -> dict[str, str]:
    collected = collect(settings, needed or Needed(), 30 * DAY, **how)
    return {item.name: item.kind for item in collected.garbage}


def test_an_environment_that_no_step_took_for_long_goes(project: Settings) -> None:
    environment(project.home, "a" * 32)
    with _alone(environment(project.home, "b" * 32)):
        pass
    free = {"a" * 32: "environment", "a" * 32 + ".lock": "leftover"}
    assert found(project, dry_run=True) == free
    assert found(project) == free
    assert {place.name for place in (project.home / "environments").iterdir()} == {"b" * 32, "b" * 32 + ".lock"}


def test_an_environment_that_is_being_made_stays(project: Settings) -> None:
    with environment(project.home, "a" * 32).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert found(project) == {}


def test_environments_stay_while_a_run_goes_on(project: Settings) -> None:
    environment(project.home, "a" * 32)
    records = Run(project.home, "r")
    records.start({"pipeline": "p", "engine": "local", "steps": [], "parameters": {}})
    with records.held():
        assert found(project) == {}


def test_who_waited_for_an_environment_that_was_taken_away_makes_a_lock_of_its_own(tmp_path: Path) -> None:
    place = tmp_path / "e.lock"
    with _alone(place):
        inode = place.stat().st_ino
    old(place)
    with unused(tmp_path, time.time()) as free:
        assert free == [place]
        place.rename(tmp_path / "taken")
    with _alone(place):
        assert place.stat().st_ino != inode


def test_records_of_old_searches_go_unless_a_model_comes_from_one(project: Settings) -> None:
    folder = project.home / "searches"
    folder.mkdir(parents=True)
    for name in ("old", "of-a-model", "young"):
        (folder / f"{name}.json").write_text("{}")
    old(folder / "old.json")
    old(folder / "of-a-model.json")
    needed = Needed(runs=frozenset({"of-a-model-trial-3"}))
    assert found(project, needed) == {"old.json": "search"}
    assert {place.name for place in folder.iterdir()} == {"of-a-model.json", "young.json"}


@pytest.fixture
def sharing(project: Settings, tmp_path: Path) -> Settings:
    return replace(project, store=f"file://{tmp_path}/lake")


def shared(settings: Settings, content: str, is_old: bool = True) -> str:
    """Put a result into the store, as another machine did; return its name."""
    folder = artifacts.ResultFolder.create(settings.home.parent / "elsewhere", "work")
    (folder.aside / "data").write_text(content)
    item = {"name": "a", "type": "t", "uri": str(folder.final / "data"), "metadata": {}}
    made = {"data": [{**item, "digest": artifacts.digest(folder.aside / "data")}]}
    cache.write_result(folder.aside, cache.Result({}, made, {}))
    store = artifact_store.of(settings)
    assert store
    store.publish(folder.aside, folder.final.name)
    if is_old:
        for place in Path(settings.store.removeprefix("file://"), folder.final.name).iterdir():
            old(place)
    return folder.final.name


def test_what_machines_share_goes_only_where_that_is_asked_for_and_nobody_here_needs_it(sharing: Settings) -> None:
    free, young, of_a_model, kept = (
        shared(sharing, each, each != "young") for each in ("free", "young", "model", "kept")
    )
    digest = artifacts.digest(Path(sharing.store.removeprefix("file://"), of_a_model, "data"))
    needed = Needed(digests=frozenset({digest}), texts=(f"{sharing.store}/{kept}/data",))
    assert found(sharing, needed) == {}
    assert found(sharing, needed, shared=True, dry_run=True) == {free: "shared result"}
    assert found(sharing, needed, shared=True) == {free: "shared result"}
    left = {place.name for place in Path(sharing.store.removeprefix("file://")).iterdir()}
    assert left == {young, of_a_model, kept}


def test_what_else_lies_in_the_store_is_left_alone(sharing: Settings, tmp_path: Path) -> None:
    free = shared(sharing, "free")
    other = tmp_path / "lake" / "somebody-s.csv"
    other.write_text("1")
    old(other)
    assert found(sharing, shared=True) == {free: "shared result"}
    assert other.exists()
