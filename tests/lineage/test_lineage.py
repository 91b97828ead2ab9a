"""What OpenLineage is told of runs on this machine: whole, true, in order, and never in the way."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openlineage.client")

from fleetml.engines import local
from fleetml.pipeline import load
from fleetml.settings import Settings
from tests.lineage import events

PIPELINES = Path(__file__).parents[1] / "pipelines"


@pytest.fixture
def go(project: Settings) -> Callable[..., str]:
    """Return a function that runs a pipeline of the conformance cases and returns its state."""

    def go(name: str, run_id: str = "r", **parameters: Any) -> str:
        path = PIPELINES / f"{name}.yaml"
        plan = load(path)
        return local.run(local.Job(plan, path, plan.bind(parameters), run_id), project)

    return go


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return events.into(monkeypatch, tmp_path / "events.json")


def told(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["job"]["name"], event["eventType"]) for event in found]


def test_a_run_and_its_steps_are_told_from_start_to_end(go: Callable[..., str], file: Path) -> None:
    assert go("branches") == "succeeded"
    found = events.read(file)
    for event in found:
        events.check(event)
    assert told(found)[0] == ("branches", "START")
    assert told(found)[-1] == ("branches", "COMPLETE")
    ran = {"condition-branches-1.condition-3.draw-2", "condition-branches-1.condition-3.echo-2", "flip", "read"}
    ran |= {"echo-4", "condition-5.echo-5", "condition-5.condition-6.echo-6"}
    assert sorted(told(found)[1:-1]) == sorted((f"branches.{s}", state) for s in ran for state in ("START", "COMPLETE"))
    parents = [event["run"]["facets"]["parent"] for event in found[1:-1]]
    assert {parent["run"]["runId"] for parent in parents} == {found[0]["run"]["runId"]}
    assert found[0]["job"]["facets"]["sourceCode"]["sourceCode"] == (PIPELINES / "branches.yaml").read_text()
    given = found[0]["run"]["facets"]["executionParameters"]["parameters"]
    assert {"key": "size", "name": "size", "value": "7"} in given


def test_an_artifact_is_one_dataset_for_who_made_it_and_who_reads_it(go: Callable[..., str], file: Path) -> None:
    go("branches")
    ended = {event["job"]["name"]: event for event in events.read(file) if event["eventType"] == "COMPLETE"}
    (made,) = ended["branches.condition-branches-1.condition-3.draw-2"]["outputs"]
    (used,) = ended["branches.read"]["inputs"]
    assert (made["namespace"], made["name"]) == ("fleetml", "branches.condition-branches-1.condition-3.draw-2.data")
    assert {name: used[name] for name in ("namespace", "name", "facets")} == {
        name: made[name] for name in ("namespace", "name", "facets")
    }
    assert len(made["facets"]["version"]["datasetVersion"]) == 64
    (place,) = made["facets"]["symlinks"]["identifiers"]
    assert (place["namespace"], Path(place["name"]).exists()) == ("file", True)
    assert made["facets"]["datasetType"]["subType"] == "system.Dataset"


def test_a_failure_is_told_with_its_message(go: Callable[..., str], file: Path) -> None:
    assert go("cleanup") == "failed"
    found = events.read(file)
    for event in found:
        events.check(event)
    failed = [event for event in found if event["eventType"] == "FAIL"]
    assert told(failed) == [("cleanup.fail", "FAIL"), ("cleanup", "FAIL")]
    messages = {event["run"]["facets"]["errorMessage"]["message"] for event in failed}
    assert len(messages) == 1
    assert "cleanup.echo" not in {name for name, _ in told(found)}  # it did not run


def test_usage_and_reuse_are_told(go: Callable[..., str], file: Path) -> None:
    for run_id in ("one", "two"):
        go("nested", run_id)
    usage = [event["run"]["facets"].get("fleetml_usage", {}) for event in events.read(file)]
    first, second = [u for u in usage if u.get("cached") is False], [u for u in usage if u.get("cached")]
    assert first[0]["cpu_seconds"] > 0
    assert first[0]["max_rss_bytes"] > 1_000_000
    assert len(second) >= len(first)


def test_passwords_are_not_told(project: Settings, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = PIPELINES / "nested.yaml"
    plan = load(path)
    local.run(local.Job(plan, path, plan.bind({"word": "http://u:pass99@h"}), "r"), project)
    assert "http://u:***@h" in file.read_text()
    assert "pass99" not in file.read_text()


def test_a_server_gets_the_events(go: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *known: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "fleet")
        events.anew(monkeypatch)
        go("nested")
        server.shutdown()
    assert {path for path, _ in got} == {"/api/v1/lineage"}
    assert {event["job"]["namespace"] for _, event in got} == {"fleet"}
    assert told([event for _, event in got])[-1] == ("nested", "COMPLETE")


@pytest.mark.parametrize("answers", [False, True], ids=["nobody", "silence"])
def test_a_server_that_is_not_there_is_in_nobody_s_way(
    go: Callable[..., str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answers: bool
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if answers:
            silent.listen()  # takes the connection, never says a word
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        events.anew(monkeypatch)
        began = time.monotonic()
        assert go("nested") == "succeeded"
        assert time.monotonic() - began < 30
    said = [(record.name, record.getMessage()) for record in caplog.records]
    assert len(said) <= 1, said
    assert all("lineage cannot be sent" in message for _, message in said)


def test_without_a_configuration_nothing_is_imported(project: Settings) -> None:
    code = (
        "import sys\nfrom fleetml.cli import main\n"
        f"assert main(['run', {str(PIPELINES / 'nested.yaml')!r}]) == 0\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('openlineage', 'opentelemetry', 'fsspec')])\n"
    )
    environ = {"FLEETML_PROJECT": str(project.project), "PATH": "/usr/bin:/bin", "HOME": str(project.project)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert done.stdout.endswith("\n[]\n"), done.stdout + done.stderr
