"""Garbage collection: what is old goes, what a kept run, a model, a young entry or a running step needs stays."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetml import artifacts, atomic, cache, results_lock
from fleetml.collect import Collection, Needed, collect, needed
from fleetml.engines.local import Job, run
from fleetml.errors import ConfigurationError
from fleetml.pipeline import load
from fleetml.records import Attempt, Run
from fleetml.serving import deployment
from fleetml.settings import Settings
from tests.cli.processes import command
from tests.small_pipelines import Pipeline

DAY = 86400.0


class House:
    """Runs, results and entries of a given age, made by hand."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.home = settings, settings.home

    def result(self, days: float = 0.0, content: str = "x") -> str:
        folder = artifacts.ResultFolder.create(self.home / "results", "work")
        (folder.aside / "data").write_text(content)
        item = {"name": "a", "type": "t", "uri": str(folder.final / "data"), "metadata": {}}
        made = {"data": [{**item, "digest": artifacts.digest(folder.aside / "data")}]}
        cache.write_result(folder.aside, cache.Result({}, made, {}))
        folder.publish()
        aged(folder.final, days)
        return folder.final.name

    def run(self, run_id: str, days: float = 0.0, result: str = "", **known: Any) -> Run:
        records = Run(self.home, run_id)
        began = time.time() - days * DAY
        document = {"pipeline": "p", "engine": "local", "state": "succeeded", "started": began, "steps": ["a"]}
        atomic.write_json(records.folder / "run.json", {"run_id": run_id, **document, **known})
        number, log = records.begin("a")
        log.write_text("a log of 20 letters\n")
        aged(records.write(Attempt("a", number, "succeeded", began, began, result=result)), days)
        aged(records.folder / "run.json", days)
        return records

    def entry(self, key: str, result: str, days: float = 0.0) -> None:
        store = cache.store_of(self.settings)
        store.put(key * 64, cache.Entry(result, "0", {}, time.time() - days * DAY, "a", "p", "r"))

    def collect(self, known: Needed = Needed(), days: float = 30.0, **how: Any) -> Collection:  # noqa: B008
        return collect(self.settings, known, days * DAY, **how)

    @property
    def results(self) -> set[str]:
        return {place.name for place in (self.home / "results").iterdir()}

    @property
    def runs(self) -> set[str]:
        return {place.name for place in (self.home / "runs").iterdir()}


def aged(place: Path, days: float) -> None:
    os.utime(place, (time.time() - days * DAY,) * 2)


@pytest.fixture
def house(project: Settings) -> House:
    return House(project)


def kinds(found: Collection) -> list[str]:
    return sorted(item.kind for item in found.garbage)


def test_old_runs_go_with_the_results_only_they_used(house: House) -> None:
    shared, old, young = house.result(40), house.result(40), house.result(2)
    house.run("old", 40, old)
    house.run("old-too", 40, shared)
    house.run("young", 2, young)
    house.run("young-reuses", 1, shared)
    house.entry("a", old, 40)
    house.entry("b", shared, 40)
    dry = house.collect(dry_run=True)
    assert house.runs == {"old", "old-too", "young", "young-reuses"}
    found = house.collect()
    assert found == dry
    assert kinds(found) == ["cache entry", "result", "run", "run"]
    assert house.runs == {"young", "young-reuses"}
    assert house.results == {shared, young}
    assert [entry.result for _, entry in cache.store_of(house.settings).entries()] == [shared]
    assert not list(house.home.glob(".trash/*"))
    assert sum(item.bytes for item in found.garbage) > 0


def test_a_young_cache_entry_keeps_its_result(house: House) -> None:
    kept = house.result(40)
    house.run("old", 40, kept)
    house.entry("a", kept, 2)
    house.collect()
    assert (house.runs, house.results) == (set(), {kept})


def test_the_last_runs_of_each_pipeline_stay(house: House) -> None:
    for number in range(3):
        house.run(f"p{number}", 40 + number, house.result(40))
    house.run("q0", 50, house.result(50), pipeline="q")
    house.collect(keep_last=1)
    assert house.runs == {"p0", "q0"}
    assert len(house.results) == 2


def test_what_lies_in_a_workspace_is_no_record(house: House) -> None:
    result = house.result(40)
    workspace = house.run("last", 40).workspace
    workspace.mkdir()
    (workspace / "theirs.json").write_bytes(b"\xff")
    (workspace / "folder.json").mkdir()
    (workspace / "names.json").write_text(json.dumps(result))
    house.collect(keep_last=1)
    assert (house.runs, house.results) == ({"last"}, set())


def test_what_models_come_from_stays(house: House) -> None:
    by_run, by_digest, by_name, gone = (house.result(40, text) for text in ("run", "digest", "name", "gone"))
    house.run("trained", 40, by_run)
    for number, result in enumerate((by_digest, by_name, gone)):
        house.run(f"old{number}", 40, result)
    digest = artifacts.digest(house.home / "results" / by_digest / "data")
    known = Needed(frozenset({"trained"}), frozenset({digest}), (json.dumps({"data": f"s3://b/{by_name}/data"}),))
    found = house.collect(known)
    assert found.kept_for_models == 1
    assert (house.runs, house.results) == ({"trained"}, {by_run, by_digest, by_name})


def test_runs_that_go_on_stay_and_so_does_what_they_make(house: House) -> None:
    used = house.result(40)
    records = house.run("going", 40, used, state="running")
    made = artifacts.ResultFolder.create(house.home / "results", "work")
    records.write(Attempt("a", 2, "running", result=made.final.name))
    aged(made.aside, 40)
    left = artifacts.ResultFolder.create(house.home / "results", "work")
    with records.held():
        assert kinds(house.collect()) == ["unfinished result"]
    assert left.aside.name not in house.results
    assert house.results == {used, made.aside.name}
    for place in records.folder.rglob("*.json"):
        aged(place, 40)
    assert kinds(house.collect()) == ["result", "run", "unfinished result"]  # it died


@pytest.mark.parametrize(("active", "stays"), [(None, True), (frozenset(), False), (frozenset({("d", "x")}), True)])
def test_a_run_of_airflow_stays_unless_airflow_says_it_is_over(house: House, active: Any, stays: bool) -> None:
    house.run("r", 40, engine="airflow", state="running", dag_id="d", dag_run_id="x")
    house.collect(Needed(active=active))
    assert (house.runs == {"r"}) == stays
    house.run("ended", 40, engine="airflow", dag_id="d", dag_run_id="x")
    house.collect(Needed(active=active))
    assert "ended" not in house.runs


def test_what_killed_writers_and_damage_left_goes(house: House) -> None:
    house.run("whole", 1)
    (house.home / "runs" / "torn").mkdir()
    aged(house.home / "runs" / "torn", 40)
    for folder, name in (("cache", ".k.json.1-ab"), ("cache", "d.json"), ("ir", "1.json"), ("imported", "2")):
        (house.home / folder).mkdir(exist_ok=True)
        (house.home / folder / name).write_text("{")
        aged(house.home / folder / name, 40)
    assert kinds(house.collect()) == ["leftover"] * 4 + ["run"]
    assert house.runs == {"whole"}


def test_a_file_that_is_being_written_is_left_alone(house: House) -> None:
    (house.home / "ir").mkdir(parents=True)
    (house.home / "ir" / ".1.json.7-ab").write_text("{")
    aged(house.home / "ir" / ".1.json.7-ab", 1 / 48)
    assert kinds(house.collect(days=0)) == []


def test_a_collection_that_was_killed_is_finished_by_the_next(house: House) -> None:
    (house.home / ".trash" / "x" / "0").mkdir(parents=True)
    house.collect()
    assert not (house.home / ".trash").exists()


def test_a_resumed_run_that_was_collected_says_so(house: House, pipeline: Pipeline) -> None:
    path = pipeline("def a(): return {'out': 1}\n", {"a": []})
    plan = load(path)
    job = Job(plan, path, {}, "r")
    assert run(job, house.settings) == "succeeded"
    again = Job(plan, Run(house.home, "r").pipeline, {}, "r")
    house.collect(days=0)
    with pytest.raises(ConfigurationError, match="was removed meanwhile"):
        run(again, house.settings)


def test_the_collector_waits_for_a_step_that_is_at_a_result_and_steps_wait_for_it(tmp_path: Path) -> None:
    told: list[str] = []

    def collector() -> None:
        with results_lock.alone(tmp_path):
            told.append("collected")

    with results_lock.shared(tmp_path) as share:
        other = threading.Thread(target=collector)
        other.start()
        told.append("found")
        with share.let_go():
            other.join(60)
        told.append("published")
    assert told == ["found", "collected", "published"]


def test_collecting_beside_runs_takes_nothing_from_them(house: House, pipeline: Pipeline) -> None:
    """Runs of hits and misses in processes of their own, and collections as fast as they go, of whatever age."""
    code = "".join(
        f"def {name}({'a' if name != 'a' else ''}): return {{'out': {n}}}\n" for n, name in enumerate("abcd")
    )
    path = pipeline(code, {"a": [], "b": ["a"], "c": ["a"], "d": ["a"]}, uncached=("d",))
    environ = {**os.environ, "FLEETML_PROJECT": str(house.settings.project)}
    over = threading.Event()
    errors: list[BaseException] = []
    collections = 0

    def collector() -> None:
        nonlocal collections
        while not over.is_set():
            try:
                house.collect(days=0, keep_last=3)
                collections += 1
            except BaseException as error:
                errors.append(error)
                return

    thread = threading.Thread(target=collector)
    thread.start()
    try:
        for turn in range(2):
            ids = [f"r{turn}-{number}" for number in range(3)]
            going = [subprocess.Popen(command("run", path, "--run-id", name), env=environ) for name in ids]
            assert [each.wait(120) for each in going] == [0, 0, 0]
            for name in ids:
                for step, attempt in Run(house.home, name).latest().items():
                    assert (house.home / "results" / attempt.result / "result.json").exists(), step
    finally:
        over.set()
        thread.join()
    assert errors == []
    assert collections > 1


def test_a_result_does_not_vanish_under_a_run_that_is_about_to_reuse_it(
    house: House, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's read of the result is stopped half-way, and a collection begins that knows of no user."""
    path = pipeline("def a(): return {'out': 1}\n", {"a": []})
    plan = load(path)
    assert run(Job(plan, path, {}, "first"), house.settings) == "succeeded"
    (name,) = house.results
    collector = threading.Thread(target=lambda: house.collect(days=0, keep_last=1))
    reading, read_bytes = threading.Event(), atomic.read_bytes

    def slowly(place: Path) -> bytes:
        if place.name == "result.json" and not reading.is_set():
            reading.set()
            collector.start()
            collector.join(1)  # time to do wrong
        return read_bytes(place)

    monkeypatch.setattr(atomic, "read_bytes", slowly)
    assert run(Job(plan, path, {}, "second"), house.settings) == "succeeded"
    collector.join()
    assert reading.is_set()
    assert (house.runs, house.results) == ({"second"}, {name})
    assert Run(house.home, "second").latest()["a"].cached


def test_days_of_traffic_go_where_that_is_asked_for_and_no_rollout_needs_them(house: House) -> None:
    root = house.settings.serving_dir
    names = [
        "predictions/model=m/date=2026-01-01",
        "predictions/model=m/date=2026-02-01",
        "predictions/model=tried/date=2026-01-01",
        "truth/model=m/date=2013-08-01",
        "truth/model=m/date=2013-08-02",
    ]
    for name, days in zip(names, (40, 5, 40, 40, 5), strict=True):
        (root / name).mkdir(parents=True)
        (root / name / "a.parquet").write_text("rows")
        aged(root / name / "a.parquet", days)
    (root / "graph").write_text("graph")
    for version in ("1", "2"):
        deployment.install(root, deployment.Card("tried", version, ""), {deployment.GRAPH: root / "graph"})
    deployment.point(root, "tried", "1")
    deployment.begin(root, "tried", "2", "canary", 0.05, datetime.now(UTC))
    assert house.collect().garbage == []
    found = house.collect(traffic=30 * DAY, dry_run=True).garbage
    assert [(item.kind, item.name, item.bytes) for item in found] == [
        ("traffic day", names[0], 4),
        ("traffic day", names[3], 4),
    ]
    assert house.collect(traffic=30 * DAY).garbage == found
    assert [name for name in names if (root / name).exists()] == [names[1], names[2], names[4]]


def test_the_registry_and_the_serving_folder_are_asked(project: Settings, tmp_path: Path) -> None:
    from fleetml.serving.registry import Registry

    assert needed(project) == Needed()
    registry = Registry(project.registry)
    client = registry._client
    client.create_registered_model("m")
    tags = {"fleetml.run_id": "r", "fleetml.data_sha256": "d" * 64, "fleetml.data_uri": "/x/results/y"}
    client.create_model_version("m", str(tmp_path), tags=tags)
    (tmp_path / "graph").write_text("graph")
    deployment.install(project.serving_dir, deployment.Card("m", "1", "e" * 64), {"model.onnx": tmp_path / "graph"})
    found = needed(project)
    assert found.runs == {"r"}
    assert found.digests == {"d" * 64, "e" * 64}
    assert any("/x/results/y" in text for text in found.texts)
    assert found.active is None
