"""Spans of a run and its steps, as a receiver of OTLP over HTTP gets them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from fleetml import tracing
from fleetml.engines import local
from fleetml.outbox import Outbox
from fleetml.pipeline import load
from fleetml.records import Run
from fleetml.settings import Settings
from tests.tracing.receiver import receiving

PIPELINES = Path(__file__).parents[1] / "pipelines"


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    tracing._provider.cache_clear()
    monkeypatch.setattr(tracing, "_outbox", Outbox("traces", tracing._load))


@pytest.fixture
def spans() -> Iterator[tuple[str, list[Any]]]:
    with receiving() as made:
        yield made


@pytest.fixture
def go(project: Settings) -> Callable[..., Run]:
    def go(name: str, run_id: str = "r") -> Run:
        path = PIPELINES / f"{name}.yaml"
        plan = load(path)
        local.run(local.Job(plan, path, plan.bind({}), run_id), project)
        return Run(project.home, run_id)

    return go


def attributes(found: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in found.attributes}


def test_steps_are_inside_their_run(
    go: Callable[..., Run], spans: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, got = spans
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    run = go("cleanup")
    named = {span.name: span for _, span in got}
    assert set(named) == {"cleanup", "fail", "echo-2"}
    whole = named["cleanup"]
    assert whole.parent_span_id == b""
    for step in ("fail", "echo-2"):
        assert (named[step].trace_id, named[step].parent_span_id) == (whole.trace_id, whole.span_id)
        assert whole.start_time_unix_nano <= named[step].start_time_unix_nano
        assert named[step].end_time_unix_nano <= whole.end_time_unix_nano
    attempt = run.latest()["fail"]
    assert named["fail"].start_time_unix_nano == int(attempt.started * 1e9)
    assert (named["fail"].status.code, named["fail"].status.message) == (2, (attempt.failure or {})["message"])
    assert named["echo-2"].status.code == 0
    told = attributes(named["echo-2"])
    assert (told["fleetml.state"], told["fleetml.attempt"], told["fleetml.cached"]) == ("succeeded", 1, False)
    assert told["fleetml.cpu_seconds"] > 0
    assert told["fleetml.max_rss_bytes"] > 1_000_000
    assert attributes(got[0][0])["service.name"] == "fleetml"


def test_two_runs_are_two_traces_under_the_service_s_own_name(
    go: Callable[..., Run], spans: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, got = spans
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{address}/v1/traces")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    go("cleanup", "one")
    go("cleanup", "two")
    assert len({span.trace_id for _, span in got}) == 2
    assert len({span.span_id for _, span in got}) == len(got)
    assert {attributes(resource)["service.name"] for resource, _ in got} == {"mine"}


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_when_spans_are_sent(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: bool) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert tracing.configured() is wanted


@pytest.mark.parametrize("exporter", ["otlp", "nothing-of-that-name"])
def test_what_cannot_be_sent_is_told_once_and_harms_nothing(
    go: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, exporter: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", exporter)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    assert go("nested").read()["state"] == "succeeded"
    while not (said := [record for record in caplog.records if "traces cannot be sent" in record.getMessage()]):
        tracing.flush()
    assert len(said) == 1
