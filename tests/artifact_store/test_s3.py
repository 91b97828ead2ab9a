"""Results in an S3 server: what one machine made, another uses; every way it can go wrong is told."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetml import artifact_store, artifacts
from fleetml.artifact_store import ArtifactStore
from fleetml.engines.local import Job, finished, run
from fleetml.errors import ConfigurationError, InvalidData, Unavailable
from fleetml.pipeline import load
from fleetml.pipeline.values import canonical_json
from fleetml.records import Attempt, Run
from fleetml.settings import Settings

CODE = """
def make(word, data):
    data.path.mkdir()
    (data.path / "words").write_text(word)
    (data.path / "empty").mkdir()
    (data.path / "link").symlink_to("words")
    data.metadata["words"] = str(data.path / "words")
    return {"place": str(data.path / "words")}

def use(data, place, seen):
    assert not str(data.path).startswith("s3:"), data.path
    assert (data.path / "link").read_text() == open(place).read() == open(data.metadata["words"]).read()
    assert (data.path / "empty").is_dir()
    seen.path.write_text((data.path / "words").read_text().upper())
    print("used")
"""
STRING = {"parameterType": "STRING"}


def kind(title: str) -> dict[str, Any]:
    return {"artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}}


@pytest.fixture
def pipeline(stage: Callable[[str], str], tmp_path: Path) -> Path:
    """Return the IR of two steps: the first makes a folder, the second reads it."""
    module = stage(CODE)
    components: dict[str, Any] = {
        "comp-make": {
            "executorLabel": "exec-make",
            "inputDefinitions": {"parameters": {"word": STRING}},
            "outputDefinitions": {"parameters": {"place": STRING}, "artifacts": {"data": kind("system.Dataset")}},
        },
        "comp-use": {
            "executorLabel": "exec-use",
            "inputDefinitions": {"parameters": {"place": STRING}, "artifacts": {"data": kind("system.Dataset")}},
            "outputDefinitions": {"artifacts": {"seen": kind("system.Artifact")}},
        },
    }
    executors = {
        f"exec-{name}": {
            "container": {
                "image": "fleetml/ml",
                "command": ["python", "-m", "fleetml.component", f"{module}:{name}"],
                "args": ["{{$}}"],
            }
        }
        for name in ("make", "use")
    }
    made = {"producerTask": "make"}
    tasks = {
        "make": {
            "componentRef": {"name": "comp-make"},
            "taskInfo": {"name": "make"},
            "cachingOptions": {"enableCache": True},
            "inputs": {"parameters": {"word": {"componentInputParameter": "word"}}},
        },
        "use": {
            "componentRef": {"name": "comp-use"},
            "taskInfo": {"name": "use"},
            "cachingOptions": {"enableCache": True},
            "dependentTasks": ["make"],
            "inputs": {
                "parameters": {"place": {"taskOutputParameter": {**made, "outputParameterKey": "place"}}},
                "artifacts": {"data": {"taskOutputArtifact": {**made, "outputArtifactKey": "data"}}},
            },
        },
    }
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        canonical_json(
            {
                "schemaVersion": "2.1.0",
                "sdkVersion": "kfp-2.17.0",
                "pipelineInfo": {"name": "p"},
                "components": components,
                "deploymentSpec": {"executors": executors},
                "root": {"dag": {"tasks": tasks}, "inputDefinitions": {"parameters": {"word": STRING}}},
            }
        )
    )
    return path


def go(pipeline: Path, settings: Settings, run_id: str, word: str = "hello") -> dict[str, Attempt]:
    plan = load(pipeline)
    run(Job(plan, pipeline, plan.bind({"word": word}), run_id, workers=2), settings)
    return Run(settings.home, run_id).latest()


def artifact(attempt: Attempt, name: str) -> dict[str, Any]:
    return dict((attempt.outcome or {})["artifacts"][name][0])


def keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket="lake").get("Contents", [])]


def test_results_are_in_the_store_and_steps_see_local_paths(s3: Any, pipeline: Path, machines: Any) -> None:
    first, _ = machines
    latest = go(pipeline, first, "r")
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


def test_what_one_machine_computed_another_reuses(s3: Any, pipeline: Path, machines: Any) -> None:
    """They share the store and the index of the cache; the other one fetches only what a step reads."""
    first, second = machines
    go(pipeline, first, "r")
    shutil.copytree(first.home / "cache", second.home / "cache")
    assert [attempt.cached for attempt in go(pipeline, second, "r").values()] == [True, True]
    assert not (second.home / "results").exists()
    for pointer in (second.home / "cache").rglob("*.json"):
        if json.loads(pointer.read_text()).get("step") == "use":
            pointer.unlink()
    latest = go(pipeline, second, "again")
    assert {step: attempt.cached for step, attempt in latest.items()} == {"make": True, "use": False}
    assert latest["use"].state == "succeeded"
    fetched = second.home / "results" / latest["make"].result / "data"
    assert artifacts.digest(fetched) == artifact(latest["make"], "data")["digest"]
    assert (fetched / "words").stat().st_mode & 0o222 == 0


def test_many_fetch_one_artifact_at_once(s3: Any, pipeline: Path, machines: Any) -> None:
    first, second = machines
    data = artifact(go(pipeline, first, "r")["make"], "data")
    stores = [ArtifactStore(second.store, second.home) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda store: store.local_artifact(data)["uri"], stores))
    assert len(set(found)) == 1
    assert artifacts.digest(Path(found[0])) == data["digest"]
    assert [path.name for path in Path(found[0]).parent.iterdir()] == ["data"]


def test_what_was_changed_in_the_store_is_refused_and_no_hit(s3: Any, pipeline: Path, machines: Any) -> None:
    first, second = machines
    latest = go(pipeline, first, "r")
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


def test_a_resumed_run_keeps_what_is_in_the_store(s3: Any, pipeline: Path, machines: Any) -> None:
    first, second = machines
    go(pipeline, first, "r")
    shutil.copytree(first.home / "runs", second.home / "runs")
    records, plan = Run(second.home, "r"), load(pipeline)
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


@pytest.fixture
def importing(stage: Callable[[str], str], tmp_path: Path) -> Callable[[Settings, str], dict[str, Attempt]]:
    """Return a function that runs a pipeline of an importer and a step that reads what it brought in."""
    count = iter(range(100))
    code = "def use(artifact, seen):\n    assert artifact.path.exists()\n    seen.path.write_text('')\n"
    one = {"artifacts": {"artifact": kind("system.Artifact")}}
    components = {
        "comp-importer": {"executorLabel": "exec-importer", "outputDefinitions": one},
        "comp-use": {
            "executorLabel": "exec-use",
            "inputDefinitions": one,
            "outputDefinitions": {"artifacts": {"seen": kind("system.Artifact")}},
        },
    }
    read = {"taskOutputArtifact": {"producerTask": "importer", "outputArtifactKey": "artifact"}}
    tasks = {
        "importer": {"componentRef": {"name": "comp-importer"}, "taskInfo": {"name": "importer"}},
        "use": {
            "componentRef": {"name": "comp-use"},
            "taskInfo": {"name": "use"},
            "cachingOptions": {"enableCache": True},
            "dependentTasks": ["importer"],
            "inputs": {"artifacts": {"artifact": read}},
        },
    }

    def go(settings: Settings, uri: str) -> dict[str, Attempt]:
        command = ["python", "-m", "fleetml.component", f"{stage(code)}:use"]
        executors = {
            "exec-importer": {
                "importer": {
                    "artifactUri": {"constant": uri},
                    "typeSchema": one["artifacts"]["artifact"]["artifactType"],
                }
            },
            "exec-use": {"container": {"image": "fleetml/ml", "command": command, "args": ["{{$}}"]}},
        }
        path = tmp_path / "importing.yaml"
        path.write_text(
            canonical_json(
                {
                    "schemaVersion": "2.1.0",
                    "sdkVersion": "kfp-2.17.0",
                    "pipelineInfo": {"name": "importing"},
                    "components": components,
                    "deploymentSpec": {"executors": executors},
                    "root": {"dag": {"tasks": tasks}},
                }
            )
        )
        run_id = f"importing-{next(count)}"
        run(Job(load(path), path, {}, run_id), settings)
        return Run(settings.home, run_id).latest()

    return go


def test_the_command_line_needs_nothing_but_the_variables(s3: Any, pipeline: Path, project: Settings) -> None:
    import os

    environ = {**os.environ, "FLEETML_PROJECT": str(project.project), "FLEETML_STORE": "s3://lake/cli/"}
    command = [sys.executable, "-m", "fleetml", "run", str(pipeline), "-p", "word=hi", "--run-id", "r"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(key.startswith("cli/use-") and key.endswith("/seen") for key in keys(s3))


def test_a_bucket_that_is_not_there_is_told_before_anything_is_computed(s3: Any, pipeline: Path, machines: Any) -> None:
    said = r"the artifact store s3://elsewhere/x must be there.*create the bucket, or correct FLEETML_STORE"
    with pytest.raises(ConfigurationError, match=said):
        go(pipeline, replace(machines[0], store="s3://elsewhere/x"), "r")
    assert not Run(machines[0].home, "r").exists()


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with `status`; where that is 0, hangs up on what is sent."""

    status = 403

    def _answer(self) -> None:
        if self.command == "PUT" and not self.status:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>" if self.status else b""
        self.send_response(self.status or 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = _answer

    def log_message(self, *known: object) -> None:
        pass


@contextmanager
def serving(status: int) -> Iterator[str]:
    kind = type("Kind", (Server,), {"status": status})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_no_access_is_told(s3_variables: Callable[[str], None], tmp_path: Path) -> None:
    with serving(403) as address:
        s3_variables(address)
        with pytest.raises(ConfigurationError, match=r"s3://lake must let us in.*AWS_ACCESS_KEY_ID"):
            ArtifactStore("s3://lake", tmp_path).ready()


def test_no_credentials_are_told(s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tests.artifact_store.conftest import forget

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    forget()
    with pytest.raises(ConfigurationError, match=r"s3://lake must let us in"):
        ArtifactStore("s3://lake", tmp_path).ready()


def test_nobody_there_is_told(s3_variables: Callable[[str], None], tmp_path: Path) -> None:
    s3_variables("http://127.0.0.1:1")
    with pytest.raises(Unavailable, match=r"s3://lake must answer.*AWS_ENDPOINT_URL"):
        ArtifactStore("s3://lake", tmp_path).ready()


def test_an_upload_that_is_cut_off_fails_the_step_and_leaves_no_result(
    s3_variables: Callable[[str], None], pipeline: Path, machines: Any
) -> None:
    with serving(0) as address:
        s3_variables(address)
        latest = go(pipeline, machines[0], "r")
    failure = latest["make"].failure
    assert failure is not None
    assert (failure["type"], latest["use"].state) == ("Unavailable", "upstream_failed")
    assert "must answer, putting make-" in failure["message"]
    assert list((machines[0].home / "results").iterdir()) == []
    assert not list((machines[0].home / "cache").rglob("*.json"))
