"""The server: rpcs, health, reflection, the watch on the serving folder, the prediction log, a graceful end."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fleetml.errors import Unavailable
from fleetml.serving import backends, deployment
from fleetml.serving.contract import MESSAGE_BYTES, SERVICE
from fleetml.serving.inference import Inference
from fleetml.serving.models import Models
from fleetml.serving.online import Absent, Covariates, Feast
from fleetml.serving.predictions import PredictionLog
from fleetml.serving.proto.ai_service_pb2_grpc import add_AIServiceServicer_to_server
from fleetml.serving.service import AIService

DRAIN_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """`root` is the serving folder; port 0: any free one; `feature_store` None: no covariates are looked up.

    `backend` is one of `fleetml.serving.backends.NAMES`.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 50051
    feature_store: Path | None = None
    backend: str = "cpu"


async def serve(options: Options) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises Unavailable when the port is taken."""
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    async with running(options) as address:
        print(f"serving {SERVICE} on {address}", flush=True)  # noqa: T201 - whoever chose port 0 reads it here
        await end.wait()
        log.info("draining")


@contextlib.asynccontextmanager
async def running(options: Options) -> AsyncIterator[str]:
    """Run a server inside the block; yield its address.

    It takes requests at once; its health ("") is serving once what was deployed before has been loaded or refused.
    At the end it answers what is under way and flushes the log.
    """
    options.root.mkdir(parents=True, exist_ok=True)
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.max_send_message_length", MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),  # else a second server on the port would take half of the requests
        ]
    )
    port = _bind(server, options)
    address = f"{options.host}:{port}"
    checks = health.aio.HealthServicer()
    covariates: Covariates = Feast(options.feature_store) if options.feature_store else Absent()
    predictions = PredictionLog(options.root)
    executor = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "forecast")

    async def changed(loaded: bool) -> None:
        state = health_pb2.HealthCheckResponse.SERVING if loaded else health_pb2.HealthCheckResponse.NOT_SERVING
        await checks.set(SERVICE, state)
        await checks.set("", health_pb2.HealthCheckResponse.SERVING)

    about = {"address": address, "pid": os.getpid()}
    models = Models(options.root, executor, backends.choose(options.backend), covariates, changed, about)
    inference = Inference(models, covariates, predictions, executor)
    add_AIServiceServicer_to_server(AIService(inference), server)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection([SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    for name in ("", SERVICE):
        await checks.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    await server.start()
    tasks = [asyncio.create_task(models.watch()), asyncio.create_task(predictions.run())]
    try:
        yield address
    finally:
        await checks.enter_graceful_shutdown()
        await server.stop(DRAIN_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await inference.drain()
        await predictions.flush()
        (options.root / deployment.STATUS).unlink(missing_ok=True)
        executor.shutdown()


def _bind(server: grpc.aio.Server, options: Options) -> int:
    try:
        return server.add_insecure_port(f"{options.host}:{options.port}")
    except RuntimeError as error:
        raise Unavailable(
            f"the server needs {options.host}:{options.port} for itself, and it is taken or not this machine's; "
            "end what listens there or choose another --port (0: any free one)"
        ) from error
