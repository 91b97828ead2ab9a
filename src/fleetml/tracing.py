"""OpenTelemetry spans of runs and of the attempts of their steps, where an exporter is configured.

By OpenTelemetry's own variables: OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT), OTEL_TRACES_EXPORTER (otlp,
console, none, or any that is installed), OTEL_EXPORTER_OTLP_PROTOCOL (http/protobuf where nothing is said). Without
them nothing is imported. Ids are made of the run's, so the processes of one run make one trace.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from fleetml import sha256
from fleetml.outbox import Outbox

if TYPE_CHECKING:
    from fleetml.records import Attempt, Run

_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_outbox = Outbox("traces", lambda: _load())


def configured() -> bool:
    """Say whether there is somewhere to send spans to."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    named = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return named != "none" if named else any(os.environ.get(name) for name in endpoints)


def run_ended(run: Run) -> None:
    """Send the span of a run that is over, and wait a moment for what is still to be sent."""
    if configured():
        document = run.read()
        told = {"fleetml.run_id": run.run_id, "fleetml.engine": document.get("engine", "")}
        error = "" if document["state"] == "succeeded" else f"run {document['state']}"
        name, began, ended = document["pipeline"], document["started"], document["finished"]
        _outbox.put(lambda: _send(run, "", name, began, ended, told, error))
        flush()


def step_ended(run: Run, attempt: Attempt) -> None:
    """Send the span of an attempt; what stands in its record is without secrets."""
    if configured():
        usage = attempt.usage or {}
        told = {
            "fleetml.run_id": run.run_id,
            "fleetml.step": attempt.step,
            "fleetml.attempt": attempt.number,
            "fleetml.state": attempt.state,
            "fleetml.cached": attempt.cached,
            "fleetml.cpu_seconds": usage.get("cpu_seconds", 0.0),
            "fleetml.max_rss_bytes": usage.get("max_rss_bytes", 0),
        }
        error = str((attempt.failure or {}).get("message", "")) or ("cancelled" if attempt.state == "cancelled" else "")
        key = f"{attempt.step}/{attempt.number}"
        _outbox.put(lambda: _send(run, key, attempt.step, attempt.started, attempt.finished, told, error))


def flush() -> None:
    """Wait until all is sent, but not for a server that takes nothing: a process calls it before it ends."""
    _outbox.flush()


def _send(run: Run, key: str, name: str, began: float, ended: float, told: dict[str, Any], error: str) -> None:
    """`key` "" is the run itself, which all others are in."""
    from opentelemetry import trace

    provider, ids = _provider()
    ids.trace, ids.span = _number(run.run_id, 16), _number(f"{run.run_id}/{key}", 8)
    context = None
    if key:
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        parent = trace.SpanContext(ids.trace, _number(f"{run.run_id}/", 8), is_remote=True, trace_flags=flags)
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
    span = provider.get_tracer("fleetml").start_span(name, context, attributes=told, start_time=int(began * 1e9))
    if error:
        span.set_status(trace.Status(trace.StatusCode.ERROR, error))
    span.end(int(ended * 1e9))


def _number(text: str, size: int) -> int:
    return int.from_bytes(sha256.sha256(text.encode()).digest()[:size], "big") or 1


def _load() -> None:
    _provider()


@cache
def _provider() -> tuple[Any, Any]:
    """Return what makes spans, and what gives them their ids; used by the one thread of the outbox alone."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class Ids(IdGenerator):
        trace = span = 0

        def generate_trace_id(self) -> int:
            return self.trace

        def generate_span_id(self) -> int:
            return self.span

    class Exporting(SpanProcessor):
        """Exports at once, and raises what the outbox tells."""

        def on_end(self, span: ReadableSpan) -> None:
            for exporter in exporters:
                if exporter.export([span]) is not SpanExportResult.SUCCESS:
                    raise ConnectionError("the exporter could not deliver a span")

    exporters = _exporters()
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    ids = Ids()
    made = TracerProvider(
        resource=Resource.create({} if named else {"service.name": "fleetml"}), id_generator=ids, shutdown_on_exit=False
    )
    made.add_span_processor(Exporting())
    return made, ids


def _exporters() -> list[Any]:
    from importlib.metadata import entry_points
    from logging import CRITICAL, getLogger

    getLogger("opentelemetry.exporter").setLevel(CRITICAL)  # the outbox tells it once
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    otlp = _PROTOCOLS.get(protocol or "http/protobuf", protocol or "")
    made = []
    for name in (os.environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(","):
        found = entry_points(
            group="opentelemetry_traces_exporter", name=otlp if name.strip() == "otlp" else name.strip()
        )
        if not found:
            raise LookupError(f"no exporter '{name}' ({otlp}) is installed")
        made.append(next(iter(found)).load()())
    return made
