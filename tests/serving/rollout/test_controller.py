"""A rollout from its begin to its end, over the files that server, truth and controller share."""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleetml.serving import audit, deployment
from fleetml.serving.rollout import actions, controller, evidence, progress
from fleetml.serving.rollout.__main__ import main
from fleetml.serving.rollout.actions import Place
from fleetml.serving.rollout.decision import Policy
from fleetml.stack.processes import wait_until

POLICY = Policy(least_rows=10, least_answers=20)


@pytest.fixture
def place(root: Path) -> Place:
    return Place(root, "", "test")


def served(root: Path) -> deployment.Deployed:
    return deployment.read(root)["bandwidth"]


def actions_of(root: Path) -> list[tuple[str, str]]:
    return [(line["action"], line["to"]) for line in audit.read(root, "bandwidth")]


def test_a_better_version_takes_every_step_and_is_promoted(place: Place, traffic: Any) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.05, "retrained")
    for _ in range(12):
        if served(place.root).rollout is None:
            break
        traffic.flow(14, served=20, second=10)
        controller.look(place, POLICY)
    assert (served(place.root).version, served(place.root).previous) == ("3", "2")
    assert actions_of(place.root) == [
        ("begin", "2 + 5% 3 (canary)"),
        ("advance", "2 + 25% 3 (canary)"),
        ("advance", "2 + 50% 3 (canary)"),
        ("promote", "3"),
    ]
    last = audit.read(place.root)[-1]
    assert last["who"] == "test"
    assert last["evidence"]["error"]["change"] == pytest.approx(-0.5, abs=0.05)
    assert last["evidence"]["p"]["better"] <= 0.05
    assert "shown to be better" in last["reason"]


def test_a_worse_version_is_rolled_back(place: Place, traffic: Any) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.5, "pushed")
    traffic.flow(14, served=10, second=15)
    controller.look(place, POLICY)
    assert (served(place.root).version, served(place.root).rollout) == ("2", None)
    assert "shown to be worse (error +" in audit.read(place.root)[-1]["reason"]


def test_a_version_that_fails_is_rolled_back_without_any_truth(place: Place, traffic: Any) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.25, "pushed")
    traffic.flow(10, served=10, second=10, failure="it crashed")
    controller.look(place, POLICY)
    assert served(place.root).rollout is None
    assert "questions failed" in audit.read(place.root)[-1]["reason"]


@pytest.mark.parametrize("mode", ["shadow", "ab"])
def test_shadow_and_a_b_are_measured_but_left_to_a_person(place: Place, traffic: Any, mode: str) -> None:
    actions.begin(place, "bandwidth", "3", mode, 0.5, "to see")
    traffic.flow(14, served=20, second=10)
    controller.look(place, POLICY)
    assert served(place.root).rollout is not None
    state = progress.read(place.root, "bandwidth")
    assert state is not None
    assert state.found["p"]["better"] <= 0.05
    assert "a person decides" in state.found["reason"]


def test_a_question_that_both_answered_counts_once_for_the_step(place: Place, traffic: Any) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.5, "retrained")
    traffic.flow(4, served=10, second=10)
    now = served(place.root)
    assert now.rollout is not None
    began = progress.began(now.rollout)
    seen = evidence.gather(place.root, "bandwidth", now, now.rollout, began, began)
    assert seen.step_rows == 4 * len(traffic.vms)


def test_before_any_traffic_it_waits(place: Place) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.05, "retrained")
    controller.look(place, POLICY)
    state = progress.read(place.root, "bandwidth")
    assert state is not None
    assert (state.found["action"], state.found["rows"]) == ("wait", 0)


def test_a_look_that_counted_is_not_counted_again_after_a_kill(
    place: Place, traffic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.5, "pushed")
    traffic.flow(14, served=10, second=20)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(controller, "_act", killed)
        with pytest.raises(KeyboardInterrupt):
            controller.look(place, POLICY)
    assert served(place.root).rollout is not None
    controller.look(place, POLICY)
    assert served(place.root).rollout is None
    assert audit.read(place.root)[-1]["evidence"]["looks"]["worse"] == 1


def test_a_new_share_by_hand_begins_a_step(place: Place, traffic: Any) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.05, "retrained")
    rollout = served(place.root).rollout
    assert rollout is not None
    traffic.flow(14, served=10, second=10)
    controller.look(place, Policy(least_rows=1000))
    actions.advance(place, "bandwidth", rollout, 0.25, "by hand", {})
    controller.look(place, POLICY)  # what was judged before does not count for this step
    state = progress.read(place.root, "bandwidth")
    assert state is not None
    assert (state.share, state.found["action"]) == (0.25, "wait")


def test_a_rollout_that_cannot_be_judged_hinders_no_other(
    place: Place, traffic: Any, caplog: pytest.LogCaptureFixture
) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.05, "retrained")
    text = (place.root / "deployment.json").read_text()
    (place.root / "deployment.json").write_text(text.replace('"id": "3-', '"id": "whenever'))
    controller.look(place, POLICY)
    assert "the id of a rollout ends in its start" in caplog.text


def test_a_log_that_cannot_be_read_stops_nothing(place: Place, traffic: Any, caplog: pytest.LogCaptureFixture) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.5, "pushed")
    traffic.flow(14, served=10, second=20)
    damaged = next((place.root / "predictions").rglob("*.parquet")).with_name("damaged.parquet")
    damaged.write_bytes(b"no table")
    controller.look(place, POLICY)
    assert "cannot be judged now" in caplog.text
    damaged.unlink()
    controller.look(place, POLICY)
    assert served(place.root).rollout is None


@pytest.mark.parametrize("steps", ["", "0.5,0.2", "5", "0,1", "a"])
def test_steps_that_are_none_are_refused(steps: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--dir", "anywhere", "--steps", steps])
    assert "each larger than the one before" in capsys.readouterr().err


def test_a_taken_port_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["--dir", str(tmp_path), "--port", str(taken.getsockname()[1])]) == 1
    assert "choose another --port" in caplog.text


def test_the_process_acts_and_ends_when_told(place: Place, traffic: Any) -> None:
    actions.begin(place, "bandwidth", "3", "canary", 0.5, "pushed")
    traffic.flow(14, served=10, second=20)
    command = [sys.executable, "-m", "fleetml.serving.rollout", "--dir", str(place.root), "--seconds", "0.1"]
    with subprocess.Popen([*command, "--least-rows", "10"]) as process:
        try:
            assert wait_until(lambda: served(place.root).rollout is None, 120, 0.1)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert audit.read(place.root)[-1]["who"] == "rollout"


def test_a_look_that_fails_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[Place] = []

    def look(place: Place, _: Policy) -> None:
        looks.append(place)
        if len(looks) == 1:
            raise RuntimeError("in words of a library")
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(controller, "look", look)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert main(["--dir", str(tmp_path), "--seconds", "0.01"]) == 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert len(looks) == 2
    assert "in words of a library" in caplog.text
