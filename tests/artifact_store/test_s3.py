"""Results in an S3 server: what one machine made, another uses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleetml import artifact_store, artifacts
from fleetml.artifact_store import ArtifactStore
from fleetml.engines.local import finished
from fleetml.errors import InvalidData
from fleetml.pipeline import load
from fleetml.records import Attempt, Run
from fleetml.settings import Settings
from tests.artifact_store.pipelines import artifact, go


def keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket="lake").get("Contents", [])]


def test_results_are_in_the_store_and_steps_see_local_paths(s3: Any, two_steps: Path, machines: Any) -> None:
    first, _ = machines
    latest = go(two_steps, first, "r")
    assert {step: attempt.state for step, attempt in latest.items()} == {"make": "succeeded", "use": "succeeded"}
    data = artifact(latest["make"], "data")
    assert data["uri"].startswith("s3://lake/some where/models/make-")
    assert data["metadata"]["words"] == f"{data['uri']}/words"
    assert (latest["make"].outcome or {})["parameters"]["place"] == f"{data['uri']}/words"
    name = latest["make"].result
    inside = {key.removeprefix(f"some where/models/{name}/") for key in keys(s3) if name in key}
    assert inside >= {"result.json", "contents.json", "data/words"}
    stored = s3.get_object(Bucket="lake", Key=f"some where/models/{name}/result.json")["Body"].read()
    assert stored == (first.home / "results" / name / "result.json").read_bytes()


def test_what_one_machine_computed_another_reuses(s3: Any, two_steps: Path, machines: Any) -> None:
    """They share the store and the index of the cache; the other one fetches only what a step reads."""
    first, second = machines
    go(two_steps, first, "r")
    shutil.copytree(first.home / "cache", second.home / "cache")
    assert [attempt.cached for attempt in go(two_steps, second, "r").values()] == [True, True]
    assert not (second.home / "results").exists()
    for pointer in (second.home / "cache").rglob("*.json"):
        if json.loads(pointer.read_text()).get("step") == "use":
            pointer.unlink()
    latest = go(two_steps, second, "again")
    assert {step: attempt.cached for step, attempt in latest.items()} == {"make": True, "use": False}
    assert latest["use"].state == "succeeded"
    fetched = second.home / "results" / latest["make"].result / "data"
    assert artifacts.digest(fetched) == artifact(latest["make"], "data")["digest"]
    assert (fetched / "words").stat().st_mode & 0o222 == 0


def test_many_fetch_one_artifact_at_once(s3: Any, two_steps: Path, machines: Any) -> None:
    first, second = machines
    data = artifact(go(two_steps, first, "r")["make"], "data")
    stores = [ArtifactStore(second.store, second.home) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda store: store.local_artifact(data)["uri"], stores))
    assert len(set(found)) == 1
    assert artifacts.digest(Path(found[0])) == data["digest"]
    assert [path.name for path in Path(found[0]).parent.iterdir()] == ["data"]


def test_what_was_changed_in_the_store_is_refused_and_no_hit(s3: Any, two_steps: Path, machines: Any) -> None:
    first, second = machines
    latest = go(two_steps, first, "r")
    data, key = artifact(latest["make"], "data"), f"some where/models/{latest['make'].result}/data/words"
    store = ArtifactStore(second.store, second.home)
    assert store.holds(data)
    s3.put_object(Bucket="lake", Key=key, Body=b"jello")
    with pytest.raises(InvalidData, match=r"make-.*/data is not any more what has the digest"):
        store.local_artifact(data)
    assert not list((second.home / "results").rglob("words"))
    s3.put_object(Bucket="lake", Key=key, Body=b"longer than before")
    assert not store.holds(data)
    s3.delete_object(Bucket="lake", Key=key)
    assert not store.holds(data)
    assert ArtifactStore(first.store, first.home).holds(data)  # the copy that is here counts
    for gone in keys(s3):
        s3.delete_object(Bucket="lake", Key=gone)
    fresh = ArtifactStore(second.store, second.home)
    assert not fresh.holds(data)
    with pytest.raises(InvalidData, match=r"as long as runs read it, .* is gone"):
        fresh.local_artifact(data)


def test_a_resumed_run_keeps_what_is_in_the_store(s3: Any, two_steps: Path, machines: Any) -> None:
    first, second = machines
    go(two_steps, first, "r")
    shutil.copytree(first.home / "runs", second.home / "runs")
    records, plan = Run(second.home, "r"), load(two_steps)
    kept = finished(records, plan, second)
    assert (set(kept.outcomes), kept.damaged) == ({"make", "use"}, ())
    for key in keys(s3):
        if "/use-" in key:
            s3.delete_object(Bucket="lake", Key=key)
    artifact_store._made.cache_clear()
    kept = finished(records, plan, second)
    assert (set(kept.outcomes), kept.damaged) == ({"make"}, ("use",))


def test_a_large_file_goes_in_parts(s3: Any, tmp_path: Path) -> None:
    store = ArtifactStore("s3://lake", tmp_path / "one")
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "big").write_bytes(bytes(range(256)) * 4096 * 110)  # 110 MiB
    entry = {"name": "big", "uri": "s3://lake/x/big", "digest": artifacts.digest(folder / "big")}
    (folder / "result.json").write_text(json.dumps({"artifacts": {"big": [entry]}}))
    store.publish(folder, "x")
    assert ArtifactStore("s3://lake", tmp_path / "two").local("s3://lake/x/big") == str(tmp_path / "two/results/x/big")


@pytest.mark.parametrize("place", ["s3://lake/raw/words.txt", "s3://lake/raw"])
def test_an_importer_knows_the_digest_of_what_lies_elsewhere(
    s3: Any, machines: Any, importing: Callable[[Settings, str], dict[str, Attempt]], place: str
) -> None:
    for name, body in (("words.txt", b"one"), ("sub/more.txt", b"two")):
        s3.put_object(Bucket="lake", Key=f"raw/{name}", Body=body)
    first, second = machines
    before = importing(first, place)
    assert before["use"].state == "succeeded"
    assert (artifact(before["importer"], "artifact")["uri"], before["use"].cached) == (place, False)
    assert importing(first, place)["use"].cached
    shutil.copytree(first.home / "cache", second.home / "cache")
    assert importing(second, place)["use"].cached
    s3.put_object(Bucket="lake", Key="raw/words.txt", Body=b"three")
    after = importing(first, place)
    assert not after["use"].cached
    digests = {artifact(found["importer"], "artifact")["digest"] for found in (before, after)}
    assert len(digests) == 2


def test_an_importer_of_what_is_not_there_fails(s3: Any, machines: Any, importing: Any) -> None:
    failure = importing(machines[0], "s3://lake/nothing")["importer"].failure
    assert "s3://lake/nothing must be there" in failure["message"]
    failure = importing(machines[0], "nosuch://lake/nothing")["importer"].failure
    assert "nosuch://lake/nothing must be a URL that fsspec opens" in failure["message"]


def test_the_command_line_needs_nothing_but_the_variables(s3: Any, two_steps: Path, project: Settings) -> None:
    environ = {**os.environ, "FLEETML_PROJECT": str(project.project), "FLEETML_STORE": "s3://lake/cli/"}
    command = [sys.executable, "-m", "fleetml", "run", str(two_steps), "-p", "word=hi", "--run-id", "r"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(key.startswith("cli/use-") and key.endswith("/seen") for key in keys(s3))
