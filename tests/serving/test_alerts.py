"""Alerts of the embedded stack: when they are told, in whose format, and that the webhook's address stays a secret."""

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fleetml import atomic
from fleetml.engines import record, totals
from fleetml.errors import ConfigurationError
from fleetml.records import Run
from fleetml.serving import alerts, webhook
from fleetml.settings import Settings
from fleetml.stack import processes, rollout
from fleetml.stack.processes import wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CALM = {"score": 0.1, "features": {}, "missing": [], "accuracy": 0.9}
DRIFTED = {**CALM, "score": 0.7, "features": {"cpu_usage": 0.6}}


class Receiver:
    """A webhook on loopback that answers with `statuses`, the last one for ever; None: it keeps silent."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.statuses: list[int | None] = [200]
        self.tried = 0
        self.url = ""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found, over = Receiver(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = found.statuses[min(found.tried, len(found.statuses) - 1)]
            found.tried += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if status is None:
                over.wait(60)
                return
            if status == 200:
                found.got.append(json.loads(body))
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}/services/s3cr3t-token"
    yield found
    over.set()
    server.shutdown()
    server.server_close()


def verdict(root: Path, model: str, at: datetime, **found: Any) -> None:
    atomic.write_json(root / "monitor" / f"{model}.json", {**CALM, **found, "time": at.timestamp()})


def budget(pipeline: str, period: str, quantity: str, share: float) -> str:
    return f'fleetml_budget_spent_ratio{{pipeline="{pipeline}",period="{period}",quantity="{quantity}"}} {share}'


def exposition(*series: str) -> str:
    return "\n".join(("# TYPE fleetml_budget_spent_ratio gauge", *series, ""))


def told(root: Path, at: datetime, arrives: bool = True) -> list[tuple[str, str, str]]:
    """Look once; return status, name, and model or pipeline of what was told."""
    messages: list[dict[str, Any]] = []

    def send(message: dict[str, Any]) -> bool:
        messages.append(message)
        return arrives

    alerts.look(root, root / "runs.prom", at, send)
    each = [(alert["status"], alert["labels"]) for message in messages for alert in message["alerts"]]
    return [(status, of["alertname"], of.get("model") or of["pipeline"]) for status, of in each]


def test_drift_is_told_once_it_lasts_and_when_it_is_over(tmp_path: Path) -> None:
    drift = ("ModelDataDrift", "bandwidth")
    verdict(tmp_path, "bandwidth", NOW, **DRIFTED)
    verdict(tmp_path, "calm", NOW)
    assert told(tmp_path, NOW) == []
    assert told(tmp_path, NOW + 2 * HOUR) == [("firing", *drift)]
    assert told(tmp_path, NOW + 2.1 * HOUR) == []
    verdict(tmp_path, "bandwidth", NOW + 6 * HOUR, **DRIFTED)
    verdict(tmp_path, "calm", NOW + 6 * HOUR)
    assert told(tmp_path, NOW + 6 * HOUR) == [("firing", *drift)], "every four hours again"
    verdict(tmp_path, "bandwidth", NOW + 7 * HOUR)
    assert told(tmp_path, NOW + 7 * HOUR) == [("resolved", *drift)]
    assert told(tmp_path, NOW + 7.1 * HOUR) == []


def test_what_was_over_before_it_was_told_is_never_told(tmp_path: Path) -> None:
    verdict(tmp_path, "bandwidth", NOW, **DRIFTED)
    assert told(tmp_path, NOW) == []
    verdict(tmp_path, "bandwidth", NOW + HOUR)
    assert told(tmp_path, NOW + HOUR) == []


def test_bad_accuracy_missing_features_and_silence_are_told(tmp_path: Path) -> None:
    verdict(tmp_path, "bandwidth", NOW, accuracy=0.79, missing=["latency"])
    verdict(tmp_path, "cpu", NOW, accuracy=None)
    told(tmp_path, NOW)
    assert told(tmp_path, NOW + HOUR / 2) == [("firing", "ModelFeatureMissing", "bandwidth")]
    assert told(tmp_path, NOW + 2 * HOUR) == [("firing", "ModelAccuracyLow", "bandwidth")]
    silent = [("firing", "ModelNotMonitored", model) for model in ("bandwidth", "cpu")]
    assert told(tmp_path, NOW + 3.1 * HOUR) == silent


def test_a_budget_is_told_as_runs_use_it_and_when_a_new_month_begins(tmp_path: Path) -> None:
    nearly, over = ("BudgetNearlySpent", "p"), ("BudgetExceeded", "p")

    def used(share: float) -> None:
        atomic.write_text(tmp_path / "runs.prom", exposition(budget("p", "month", "money", share)))

    assert told(tmp_path, NOW) == [], "no run yet"
    used(0.7)
    assert told(tmp_path, NOW) == []
    used(0.8)
    assert told(tmp_path, NOW) == [("firing", *nearly)]
    used(1.2)
    assert told(tmp_path, NOW + HOUR) == [("firing", *over), ("resolved", *nearly)]
    assert told(tmp_path, NOW + 2 * HOUR) == []
    assert told(tmp_path, NOW + 5 * HOUR) == [("firing", *over)], "every four hours again"
    used(0.1)
    assert told(tmp_path, NOW + 6 * HOUR) == [("resolved", *over)]


def test_each_limit_of_a_budget_is_an_alert_of_its_own(tmp_path: Path) -> None:
    messages: list[dict[str, Any]] = []
    series = (budget("p", "run", "kwh", 1.5), budget("p", "month", "kwh", 1), budget("q", "run", "money", 0.9))
    (tmp_path / "runs.prom").write_text(exposition(*series))
    alerts.look(tmp_path, tmp_path / "runs.prom", NOW, lambda message: not messages.append(message))
    of = {"alertname": "BudgetExceeded", "pipeline": "p", "quantity": "kwh", "severity": "critical"}
    assert [alert["labels"] for alert in messages[0]["alerts"]] == [of | {"period": each} for each in ("run", "month")]
    assert len({alert["fingerprint"] for alert in messages[0]["alerts"]}) == 2


def test_what_did_not_arrive_is_told_again(tmp_path: Path) -> None:
    verdict(tmp_path, "bandwidth", NOW - 4 * HOUR)
    assert told(tmp_path, NOW, arrives=False) == told(tmp_path, NOW) != []
    verdict(tmp_path, "bandwidth", NOW)
    assert told(tmp_path, NOW, arrives=False) == told(tmp_path, NOW) == [("resolved", "ModelNotMonitored", "bandwidth")]
    assert told(tmp_path, NOW) == []


def test_the_message_is_alertmanagers(tmp_path: Path) -> None:
    messages: list[dict[str, Any]] = []
    verdict(tmp_path, "bandwidth", NOW - 4 * HOUR)
    alerts.look(tmp_path, None, NOW, lambda message: not messages.append(message))
    (message,) = messages
    assert (message["version"], message["status"], message["receiver"]) == ("4", "firing", "fleetml")
    assert message["commonLabels"] == {"alertname": "ModelNotMonitored", "model": "bandwidth", "severity": "warning"}
    (alert,) = message["alerts"]
    assert alert["annotations"]["summary"] == "Nobody has looked at bandwidth for 4.0 h"
    assert (Path(__file__).parents[2] / alert["annotations"]["runbook"]).is_file()
    assert datetime.fromisoformat(alert["startsAt"]) == NOW
    assert re.fullmatch("[0-9a-f]{16}", alert["fingerprint"])


@pytest.mark.parametrize("first", [500, 503, 429, None])
def test_a_webhook_that_fails_for_a_while_is_tried_again(
    receiver: Receiver, first: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.statuses = [first, first, 200]
    if first is None:
        monkeypatch.setattr(webhook, "SECONDS", 1.0)
    pauses: list[float] = []
    assert webhook.post(receiver.url, {"a": 1}, pauses.append)
    assert receiver.got == [{"a": 1}]
    assert pauses == [1, 2] if first else pauses == [1, 1]


@pytest.mark.parametrize(
    ("status", "tries", "said"), [(500, 4, "HTTP 500"), (404, 1, "HTTP 404"), (302, 1, "HTTP 302")]
)
def test_a_webhook_that_does_not_take_it_is_told_in_the_log_without_its_address(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, status: int, tries: int, said: str
) -> None:
    receiver.statuses = [status]
    with caplog.at_level(logging.DEBUG):
        assert not webhook.post(receiver.url, {"a": 1}, lambda seconds: None)
    assert receiver.tried == tries
    assert said in caplog.text
    assert "s3cr3t" not in caplog.text


def test_a_webhook_that_is_not_there_is_told_without_its_address(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert not webhook.post("http://127.0.0.1:1/s3cr3t", {}, lambda seconds: None)
    assert "ConnectionRefusedError" in caplog.text
    assert "s3cr3t" not in caplog.text


def stack_settings(project: Path, url: str) -> Settings:
    """The settings of a project that has what the controller needs to be started."""
    (project / "images").mkdir()
    (project / "images/images.toml").touch()
    (project / ".venv/ml/bin").mkdir(parents=True)
    (project / ".venv/ml/bin/python").touch()
    return Settings.from_environment({"FLEETML_PROJECT": str(project), "FLEETML_ALERT_WEBHOOK": url})


@pytest.mark.parametrize(
    "url", ["s3cr3t", "ftp://host/s3cr3t", "http:///s3cr3t", "http://host/s3 cr3t", "http://h:x/s3cr3t"]
)
def test_what_is_no_webhook_is_refused_before_the_stack_starts(url: str, tmp_path: Path) -> None:
    settings = stack_settings(tmp_path, url)
    with pytest.raises(ConfigurationError, match="FLEETML_ALERT_WEBHOOK is the URL") as refused:
        rollout.start(settings, 1)
    assert "cr3t" not in str(refused.value) + repr(settings)


def test_the_stack_s_controller_is_told_where_runs_tell_their_budgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(processes, "spawn", lambda command, **_: commands.append(command))
    settings = stack_settings(tmp_path, "http://host/s3cr3t")
    rollout.start(settings, 1)
    figures = Path(commands[0][commands[0].index("--figures") + 1])
    run = Run(settings.home, "r")
    record.begin(run, {"pipeline": "p", "engine": "local", "steps": []})
    record.end(run, "succeeded")
    assert "fleetml_runs_total" in figures.read_text()


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Return a function that starts the controller with a webhook; its log is ``log``."""
    running: list[subprocess.Popen[str]] = []

    def start(url: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "fleetml.serving.rollout", "--dir", str(tmp_path)]
        command += ["--figures", str(tmp_path / "runs.prom")]
        with (tmp_path / "log").open("w") as log:
            known = {**os.environ, "FLEETML_ALERT_WEBHOOK": url}
            running.append(subprocess.Popen(command, env=known, stdout=log, stderr=log, text=True))
        return running[-1]

    yield start
    for process in running:
        process.terminate()
        process.wait(60)


def test_the_controller_tells_the_webhook(
    receiver: Receiver, controller: Callable[[str], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    """Of models and of budgets, the figures of which a run wrote."""
    verdict(tmp_path, "bandwidth", datetime.fromtimestamp(time.time() - 4 * 3600, UTC))
    with totals.changing(tmp_path) as known:
        known.spent("train-forecaster", {("run", "kwh"): 1.5})
    process = controller(receiver.url)
    assert wait_until(lambda: bool(receiver.got), 120, 0.1), (tmp_path / "log").read_text()
    names = [alert["labels"]["alertname"] for alert in receiver.got[0]["alerts"]]
    assert names == ["ModelNotMonitored", "BudgetExceeded"]
    assert (
        receiver.got[0]["alerts"][1]["annotations"]["summary"] == "train-forecaster has used 150% of its kwh of a run"
    )
    assert wait_until((tmp_path / "alerts.json").exists, 60, 0.1)
    process.terminate()
    assert process.wait(60) == 0
    assert "s3cr3t" not in (tmp_path / "log").read_text() + (tmp_path / "alerts.json").read_text()


def test_the_controller_refuses_what_is_no_webhook(
    controller: Callable[[str], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    assert controller("s3cr3t").wait(120) == ConfigurationError.exit_code
    assert "s3cr3t" not in (tmp_path / "log").read_text()
