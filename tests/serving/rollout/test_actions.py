"""What may be done to what is served, by whom it is told, and what is refused."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import circuitbreaker
import pytest

from fleetml.errors import InvalidParameter, Unavailable
from fleetml.learn.windows import Meta
from fleetml.serving import aliases, audit, deployment, registry_http
from fleetml.serving.rollout import actions, confirm
from fleetml.serving.rollout.actions import Place

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def place(root: Path) -> Place:
    return Place(root, "", "ann")


def served(root: Path) -> deployment.Deployed:
    return deployment.read(root)["bandwidth"]


def trail(root: Path) -> list[tuple[str, ...]]:
    return [tuple(line[key] for key in ("who", "action", "from", "to", "reason")) for line in audit.read(root)]


def test_a_version_is_promoted_and_rolled_back(place: Place) -> None:
    actions.promote(place, "bandwidth", "3", "by hand")
    assert (served(place.root).version, served(place.root).previous) == ("3", "2")
    actions.roll_back(place, "bandwidth", "too high")
    assert (served(place.root).version, served(place.root).previous) == ("2", "")
    assert trail(place.root) == [
        ("ann", "promote", "2", "3", "by hand"),
        ("ann", "rollback", "3", "2", "too high"),
    ]
    with pytest.raises(InvalidParameter, match="neither a rollout under way nor a previous version"):
        actions.roll_back(place, "bandwidth", "again")


def test_a_version_that_forecasts_less_far_takes_over_only_where_that_is_said(
    place: Place, graph: Callable[..., Path], meta: Meta
) -> None:
    made = graph(meta=replace(meta, horizon=meta.horizon - 1), name="short.onnx")
    card = deployment.Card("bandwidth", "4", deployment.digest(made))
    deployment.install(place.root, card, {deployment.GRAPH: made})
    told = f"bandwidth 4 forecasts {meta.horizon - 1} steps .* 2 is served and forecasts {meta.horizon} steps"
    with pytest.raises(InvalidParameter, match=told):
        actions.promote(place, "bandwidth", "4", "by hand")
    with pytest.raises(InvalidParameter, match="--shorter-horizon"):
        actions.split(place, "bandwidth", "4", 0.1, "to see")
    with pytest.raises(InvalidParameter, match="shorter_horizon=true"):
        actions.begin(place, "bandwidth", "4", "shadow", 1.0, "retrained")
    with pytest.raises(InvalidParameter, match="forecast as far"), actions.on_trial(place, "bandwidth", "4", "deploy"):
        pass
    assert (served(place.root).version, served(place.root).rollout, trail(place.root)) == ("2", None, [])
    actions.begin(replace(place, shorter_horizon=True), "bandwidth", "4", "canary", 0.05, "retrained")
    actions.promote(place, "bandwidth", "", "it was let in when its rollout began")
    assert served(place.root).version == "4"
    actions.promote(place, "bandwidth", "3", "further is no fault")


def test_the_version_of_a_rollout_is_promoted_by_default_and_a_rollback_ends_it(place: Place) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.05, "retrained")
    actions.roll_back(place, "bandwidth", "no")
    assert (served(place.root).version, served(place.root).previous, served(place.root).rollout) == ("2", "1", None)
    actions.begin(place, "bandwidth", "3", "canary", 0.05, "retrained")
    actions.promote(place, "bandwidth", "", "yes")
    assert (served(place.root).version, served(place.root).previous, served(place.root).rollout) == ("3", "2", None)


def test_a_split_is_an_a_b_test_that_nothing_pushes_aside(place: Place) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.05, "retrained")
    actions.split(place, "bandwidth", "3", 0.2, "to see")
    actions.split(place, "bandwidth", "3", 0.4, "more")
    now = served(place.root).rollout
    assert now is not None
    assert (now.mode, now.share, now.version) == ("ab", 0.4, "3")
    with pytest.raises(InvalidParameter, match="goes on until somebody ends it"):
        actions.begin(place, "bandwidth", "1", "canary", 0.05, "retrained")


@pytest.mark.parametrize(("version", "mode"), [("2", "canary"), ("1", "maybe")])
def test_what_cannot_begin_ends_nothing(place: Place, version: str, mode: str) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.25, "retrained")
    before = served(place.root)
    with pytest.raises(InvalidParameter):
        actions.begin(place, "bandwidth", version, mode, 0.5, "retrained")
    with pytest.raises(InvalidParameter, match="version 2 of bandwidth is served already"):
        actions.split(place, "bandwidth", "2", 0.1, "to see")
    assert served(place.root) == before


def test_a_newer_challenger_takes_the_place_of_one_under_way(place: Place) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.25, "retrained")
    actions.begin(place, "bandwidth", "1", "shadow", 1.0, "retrained")
    now = served(place.root).rollout
    assert now is not None
    assert (now.mode, now.version) == ("shadow", "1")
    assert trail(place.root)[-1][2:4] == ("2 + 25% 3 (canary)", "2 + 100% 1 (shadow)")


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda place: actions.promote(place, "cpu", "3", ""), "'cpu' is not served; served: bandwidth"),
        (lambda place: actions.promote(place, "bandwidth", "9", ""), r"bandwidth 9 is not \(there: 1, 2, 3\)"),
        (lambda place: actions.promote(place, "bandwidth", "2", ""), "version 2 of bandwidth is served already"),
        (lambda place: actions.promote(place, "bandwidth", "", ""), "promote needs a version"),
        (lambda place: actions.promote(place, "bandwidth", "../2", ""), "letters, digits"),
        (
            lambda place: actions.promote(place, "bandwidth", "3", "", None, "3-gone"),
            "rollout 3-gone .* must be under way",
        ),
        (
            lambda place: actions.roll_back(place, "bandwidth", "", None, "3-gone"),
            "rollout 3-gone .* must be under way",
        ),
        (lambda place: actions.split(place, "bandwidth", "3", 1.0, ""), "between 0 and 1"),
        (lambda place: actions.split(place, "bandwidth", "2", 0.5, ""), "version 2 of bandwidth is served already"),
        (lambda place: actions.begin(place, "bandwidth", "3", "boldly", 0.5, ""), "one of canary, ab, shadow"),
    ],
)
def test_what_cannot_be_done_changes_nothing(place: Place, refused: Callable[[Place], Any], words: str) -> None:
    before = (place.root / "deployment.json").read_text()
    with pytest.raises(InvalidParameter, match=words):
        refused(place)
    assert (place.root / "deployment.json").read_text() == before
    assert audit.read(place.root) == []
    assert actions.mend(place) == []


def test_a_registry_that_is_down_holds_nothing_up_and_is_told_later(root: Path, registry: "Mlflow") -> None:
    down = Place(root, NOBODY, "ann")
    done = actions.roll_back(down, "bandwidth", "too high")
    assert "must answer at http://127.0.0.1:1" in done.registry
    assert served(root).version == "1"
    assert actions.mend(down) == []  # still down
    told = actions.mend(Place(root, registry.uri, "rollout"))
    assert registry.aliases == {"champion": "1"}
    assert [done.line["action"] for done in told] == ["mend"]
    assert actions.mend(Place(root, registry.uri, "rollout")) == []


def test_a_registry_that_hangs_is_left_alone_and_told_once_it_answers_again(
    root: Path, registry: "Mlflow", monkeypatch: pytest.MonkeyPatch
) -> None:
    now, place = [100.0], Place(root, registry.uri, "rollout")
    monkeypatch.setattr(circuitbreaker, "monotonic", lambda: now[0])
    registry.answers.clear()
    with monkeypatch.context() as impatient:
        impatient.setattr(registry_http, "SECONDS", 0.2)
        assert "must answer at" in actions.promote(place, "bandwidth", "3", "by hand").registry
        for _ in range(5):
            assert actions.mend(place) == []
    assert registry.asked == registry_http.FAILURES, "then nobody waits for it any more"
    assert deployment.read(root)["bandwidth"].version == "3", "what serves changed all the same"
    assert "it is asked again in" in actions.roll_back(place, "bandwidth", "worse").registry
    registry.answers.set()
    now[0] += registry_http.PAUSE_SECONDS + 1
    monkeypatch.setattr(registry_http, "SECONDS", 60.0)
    actions.mend(place)
    assert registry.aliases == {"champion": "2"}


def test_the_aliases_follow_what_is_served(root: Path, registry: "Mlflow") -> None:
    place = Place(root, registry.uri, "ann")
    assert actions.begin(place, "bandwidth", "3", "canary", 0.05, "retrained").registry == ""
    assert registry.aliases == {"champion": "2", "previous": "1", "challenger": "3"}
    actions.promote(place, "bandwidth", "", "better")
    assert registry.aliases == {"champion": "3", "previous": "2"}
    actions.roll_back(place, "bandwidth", "worse")
    assert registry.aliases == {"champion": "2"}


def test_a_change_that_was_interrupted_before_it_was_told_is_found(
    root: Path, registry: "Mlflow", monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(root, registry.uri, "ann")
    actions.promote(place, "bandwidth", "3", "by hand")

    def killed(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(audit, "write", killed)
        with pytest.raises(SystemExit):
            actions.roll_back(place, "bandwidth", "worse")
    assert served(root).version == "2"
    actions.mend(Place(root, registry.uri, "rollout"))
    assert [line[1:4] for line in trail(root)[1:]] == [("found", "3", "2"), ("mend", "2", "2")]
    assert registry.aliases == {"champion": "2"}


def test_a_version_that_the_registry_does_not_know_is_told(root: Path, registry: "Mlflow") -> None:
    registry.known = {"1", "2"}
    done = actions.promote(Place(root, registry.uri, "ann"), "bandwidth", "3", "by hand")
    assert "must know bandwidth champion 3" in done.registry


@pytest.mark.parametrize("said", [b"<html>hello", b"[1]", b"{}", b'{"registered_model": []}'])
def test_a_server_that_is_no_registry_is_told(serve_http: Callable[[type], str], said: bytes) -> None:
    class Foreign(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None: ...

    with pytest.raises(Unavailable, match="must answer at"):
        aliases.read(serve_http(Foreign), "bandwidth")


def test_credentials_follow_no_redirect(serve_http: Callable[[type], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "not for others")
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with pytest.raises(Unavailable, match="302"):
        aliases.read(serve_http(Elsewhere), "bandwidth")
    assert len(asked) == 1


def test_the_trail_outlives_a_writer_that_was_killed(root: Path) -> None:
    audit.write(root, audit.line("ann", "bandwidth", "promote", "1", "2", ""))
    with (root / audit.FILE).open("a") as trail:
        trail.write('{"time": "2026')
    line = audit.line("ann", "cpu", "promote", "1", "2", "")
    audit.write(root, line)
    audit.write(root, line)
    assert [entry["model"] for entry in audit.read(root)] == ["bandwidth", "cpu"]
    assert len(audit.read(root, "cpu")) == 1


def test_whether_the_server_serves_it(root: Path, serve: Callable[..., str]) -> None:
    assert confirm.wait(root, "bandwidth", "2").state == "alone"
    serve(root)
    assert confirm.wait(root, "bandwidth", "2", 60).state == "serving"
    assert confirm.wait(root, "bandwidth", "3", 0.1).state == "silent"
    (root / "models/bandwidth/3/model.onnx").write_bytes(b"no graph")
    deployment.point(root, "bandwidth", "3")
    refused = confirm.wait(root, "bandwidth", "3", 60)
    assert refused.state == "refused"
    assert refused.why


class Mlflow:
    """What the registry keeps of one model, over MLflow's own paths."""

    def __init__(self) -> None:
        self.uri = ""
        self.aliases: dict[str, str] = {}
        self.known = {"1", "2", "3"}
        self.asked, self.answers = 0, threading.Event()
        self.answers.set()

    def change(self, asked: dict[str, str], delete: bool) -> tuple[int, dict[str, Any]]:
        if delete:
            self.aliases.pop(asked["alias"], None)
        elif asked["version"] not in self.known:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such version"}
        else:
            self.aliases[asked["alias"]] = asked["version"]
        return 200, {}


@pytest.fixture
def serve_http() -> Iterator[Callable[[type], str]]:
    servers: list[ThreadingHTTPServer] = []

    def start(handler: type) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def registry(serve_http: Callable[[type], str]) -> Mlflow:
    found = Mlflow()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked += 1
            if not found.answers.wait(60):
                return
            entries = [{"alias": alias, "version": version} for alias, version in found.aliases.items()]
            self._say(200, {"registered_model": {"name": "bandwidth", "aliases": entries}})

        def do_POST(self) -> None:
            self._change(False)

        def do_DELETE(self) -> None:
            self._change(True)

        def _change(self, delete: bool) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._say(*found.change(asked, delete))

        def _say(self, status: int, document: dict[str, Any]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: Any) -> None: ...

    found.uri = serve_http(Handler)
    return found


def test_a_version_that_fails_its_test_is_taken_back_and_both_are_told(place: Place) -> None:
    before = served(place.root)
    with pytest.raises(ValueError, match="of 3"), actions.on_trial(place, "bandwidth", "3", "now"):
        raise ValueError(f"the test of {served(place.root).version}")
    assert served(place.root) == before
    assert trail(place.root) == [
        ("ann", "deploy", "2", "3", "now"),
        ("ann", "restore", "3", "2", "it failed its test: the test of 3"),
    ]


def test_what_a_person_chose_after_an_untested_version_is_what_the_next_goes_back_to(place: Place) -> None:
    trial = actions.on_trial(place, "bandwidth", "3", "now")
    trial.__enter__()  # and killed
    actions.promote(place, "bandwidth", "1", "by hand")
    actions.promote(place, "bandwidth", "3", "looks well")
    with pytest.raises(ValueError, match="odd"), actions.on_trial(place, "bandwidth", "2", "now"):
        raise ValueError("odd")
    assert served(place.root).version == "3"


def test_who_is_pushed_aside_while_tested_leaves_the_note_of_who_did(place: Place) -> None:
    first = actions.on_trial(place, "bandwidth", "3", "now")
    first.__enter__()
    second = actions.on_trial(place, "bandwidth", "1", "now")
    second.__enter__()  # and killed
    first.__exit__(None, None, None)
    with pytest.raises(ValueError, match="odd"), actions.on_trial(place, "bandwidth", "1", "again"):
        raise ValueError("odd")
    assert served(place.root).version == "2"


def test_a_registry_that_fails_in_its_own_words_holds_up_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (place.root / "rollouts" / "mend").mkdir(parents=True)
    for name in ("aaa", "bandwidth"):
        (place.root / "rollouts" / "mend" / name).touch()

    def assign(_: str, name: str, __: Any) -> dict[str, str]:
        if name == "aaa":
            raise RuntimeError("database is locked")
        return {"champion": "2"}

    monkeypatch.setattr(aliases, "assign", assign)
    told = [done.line["action"] for done in actions.mend(replace(place, registry="sqlite:///x.db"))]
    assert told[-1] == "mend"
    assert "database is locked" in caplog.text
    assert [note.name for note in (place.root / "rollouts" / "mend").iterdir()] == ["aaa"]
