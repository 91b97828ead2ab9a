"""What Prometheus is told; the names that callers depend on are fixed.

Several worker processes count into one folder (``PROMETHEUS_MULTIPROC_DIR``, which the supervisor sets before this module
is imported), and whichever of them is asked tells the sum.
"""

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY as ALONE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SHARED = os.environ.get(FOLDER, "")  # as prometheus_client saw it; Feast sets the variable when it is imported later
_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096, 16384)

LATENCY = Histogram(
    "model_prediction_latency_seconds",
    "From a question's arrival to its answer, in the server",
    ["model", "version", "role"],
    buckets=_SECONDS,
)
HANDLED = Counter(
    "grpc_server_handled", "Rpcs answered, by status", ["grpc_type", "grpc_service", "grpc_method", "grpc_code"]
)
HTTP = Counter("http_requests", "HTTP requests answered, by status", ["route", "code"])
BATCH = Histogram("model_batch_rows", "Rows of one run of a graph", ["model"], buckets=_ROWS)
QUEUE = Gauge("model_queue_rows", "Rows that wait for a graph", ["model"], multiprocess_mode="livesum")
CACHE = Counter("model_cache_requests", "Questions to the cache of answers", ["model", "result"])
VERSION = Gauge(
    "model_version_info", "1: this version is loaded", ["model", "version", "role"], multiprocess_mode="livemax"
)
FAILURES = Counter("model_rollout_failures", "Questions that a rollout's version did not answer", ["model", "version"])
LOGGED = Counter("prediction_log_rows", "Answers handed to the prediction log", ["model"])
LOST = Counter("prediction_log_rows_lost", "Answers that the prediction log gave up")

latency = functools.lru_cache(1024)(LATENCY.labels)
"""`Histogram.labels` looks its child up under a lock; these do it once."""
handled = functools.lru_cache(1024)(HANDLED.labels)
http = functools.lru_cache(1024)(HTTP.labels)
cached = functools.lru_cache(1024)(CACHE.labels)
logged = functools.lru_cache(1024)(LOGGED.labels)
_batch = functools.lru_cache(1024)(BATCH.labels)
_queue = functools.lru_cache(1024)(QUEUE.labels)


def observe_batch(model: str, rows: int, waiting: int) -> None:
    """Tell of a run of a graph, and of how many rows wait for the next."""
    _batch(model).observe(rows)
    _queue(model).set(waiting)


def exposition(textfiles: Sequence[Path]) -> bytes:
    """Return all figures in Prometheus' text format, of all workers where there are several, and what others left as ``*.prom``
    in these folders.
    """
    registry: Any = ALONE
    if _SHARED:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, _SHARED)
    return generate_latest(registry) + b"".join(_left(textfiles))


def _left(folders: Sequence[Path]) -> Iterator[bytes]:
    for file in sorted({file for folder in folders for file in folder.glob("*.prom")}):
        with contextlib.suppress(OSError):  # gone since, or not for us to read: the others are told all the same
            yield file.read_bytes()


def forget() -> None:
    """Forget the gauges of all workers: those of a supervisor that was killed."""
    for file in Path(_SHARED).glob("gauge_live*.db") if _SHARED else ():
        file.unlink(missing_ok=True)


def gone(pid: int) -> None:
    """Forget the gauges of a worker that ended."""
    multiprocess.mark_process_dead(pid)
