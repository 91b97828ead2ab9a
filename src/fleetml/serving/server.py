"""One server process: gRPC and REST, health, reflection, the watch on the serving folder, the log, a graceful end."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fleetml.serving import backends, circuits, deployment, listeners, metrics
from fleetml.serving.admission import Admission
from fleetml.serving.batching import Batcher
from fleetml.serving.caching import Cache
from fleetml.serving.contract import SERVICE
from fleetml.serving.decoding import Decoding
from fleetml.serving.inference import Inference
from fleetml.serving.models import Models
from fleetml.serving.oip.service import SERVICE as OIP
from fleetml.serving.oip.service import OpenInference
from fleetml.serving.online import Absent, Covariates, Feast
from fleetml.serving.options import Options
from fleetml.serving.predictions import PredictionLog
from fleetml.serving.proto.open_inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from fleetml.serving.rest import server as rest
from fleetml.serving.rest.app import App
from fleetml.serving.routing import CHALLENGER, CHAMPION, Served
from fleetml.serving.service import AIService
from fleetml.serving.tokens import Tokens, issue
from fleetml_client.ai_service_pb2_grpc import add_AIServiceServicer_to_server

DRAIN_SECONDS = 10.0
ENGINES = "engines"
"""Folder of the serving folder: what back ends build of graphs."""
_SERVING, _NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

log = logging.getLogger(__name__)


def run(serving: Coroutine[Any, Any, None]) -> None:
    """Run a server on the fastest event loop there is, with as many connections as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(serving)


@contextlib.asynccontextmanager
async def running(options: Options, shared: bool = False, status: Path | None = None) -> AsyncIterator[str]:
    """Run a server inside the block; yield its gRPC address.

    It takes requests at once; its health ("") is serving once what was deployed before has been loaded or refused.
    At the end it answers what is under way and flushes the log. `shared`: other processes serve on its ports, too;
    `status` is the file in which it says what it has loaded, None: the usual one.
    """
    options.root.mkdir(parents=True, exist_ok=True)
    status = status or options.status / deployment.STATUS
    known, rate = Tokens(options.access.tokens) if options.access.tokens else None, options.limits.client_rate
    admission = Admission(known, rate, issue(options.root) if known or rate else "")
    server = listeners.grpc_server(admission, shared, options.limits.held())
    port = listeners.bind_grpc(server, options)
    http = listeners.bind_http(options, port, shared)
    address = f"{options.host}:{port}"
    about: dict[str, Any] = {"address": address, "http": f"{options.host}:{http.getsockname()[1]}", "pid": os.getpid()}
    about["tls"] = options.access.certificate is not None
    checks = _Health()
    circuits.follow()
    covariates: Covariates = Feast(options.feature_store) if options.feature_store else Absent()
    predictions = PredictionLog(options.root)
    loading = ThreadPoolExecutor(1, "loading")
    limits = options.limits
    batcher = Batcher(min(4, os.cpu_count() or 1), limits.batch_rows, limits.queued_rows)
    backend = backends.choose(options.backend, options.root / ENGINES)
    models = Models(options.root, status, loading, backend, covariates, checks.changed, about)
    cache = Cache(limits.cache_entries, limits.cache_seconds)
    inference = Inference(models, covariates, predictions, batcher, cache, options.log_share)
    _add(server, inference, checks)
    await checks.begin()
    gc.freeze()  # what was imported stays: a collection that looks through it takes longer than a hundred answers
    await server.start()
    tasks = [asyncio.create_task(models.watch()), asyncio.create_task(predictions.run())]
    if admission.tokens:
        tasks.append(asyncio.create_task(_follow(admission.tokens)))
    try:
        textfiles = [options.root / deployment.METRICS, *options.textfiles]
        app = App(inference, admission, limits.request_seconds, textfiles)
        async with rest.listening(app, http, options, DRAIN_SECONDS):
            yield address
            await checks.enter_graceful_shutdown()
            await server.stop(DRAIN_SECONDS)
    finally:
        await server.stop(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await inference.drain()
        await predictions.flush()
        status.unlink(missing_ok=True)
        loading.shutdown()
        batcher.close()


class _Health(health.aio.HealthServicer):
    """Health of the server (""), of its services, and of each model (``novacron.ai.AIService/<model>``)."""

    def __init__(self) -> None:
        super().__init__()
        self._models: set[str] = set()
        self._versions: set[tuple[str, str, str]] = set()

    async def begin(self) -> None:
        for name in ("", SERVICE, OIP):
            await self.set(name, _NOT_SERVING)

    async def changed(self, loaded: Mapping[str, Served]) -> None:
        """Tell health checks and Prometheus what is loaded now."""
        for name in self._models | set(loaded):
            await self.set(f"{SERVICE}/{name}", _SERVING if name in loaded else _NOT_SERVING)
        self._models |= set(loaded)
        for name in (SERVICE, OIP):
            await self.set(name, _SERVING if loaded else _NOT_SERVING)
        await self.set("", _SERVING)
        versions = {
            (name, model.version, role)
            for name, served in loaded.items()
            for model, role in ((served.champion, CHAMPION), (served.challenger, CHALLENGER))
            if model
        }
        for version in self._versions | versions:
            metrics.VERSION.labels(*version).set(version in versions)
        self._versions |= versions


def _add(server: grpc.aio.Server, inference: Inference, checks: _Health) -> None:
    decoding = Decoding(server)
    add_AIServiceServicer_to_server(AIService(inference), decoding)
    add_GRPCInferenceServiceServicer_to_server(OpenInference(inference), decoding)
    health_pb2_grpc.add_HealthServicer_to_server(checks, decoding)
    names = [SERVICE, OIP, health.SERVICE_NAME, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)


async def _follow(tokens: Tokens) -> None:
    while True:
        await asyncio.sleep(1)
        tokens.refresh()
