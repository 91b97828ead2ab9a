"""A thousand containers that fail at once, eight at a time: how many are told as failed, by us and by kfp.local.

``python -m benchmarks containers`` (not run without its name: it takes a Docker engine, and minutes). The image is
fleetml/serving, or FLEETML_BENCH_IMAGE; FLEETML_BENCH_CONTAINERS says how many instead.
"""

import contextlib
import io
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleetml.images import Image
from fleetml.runners import Command
from fleetml.runners.docker import DockerRunner

AT_ONCE = 8
FAIL = ("sh", "-c", "exit 3")


def run() -> Iterator[tuple[str, float, str]]:
    """Yield counts and seconds. Raises Unavailable without an engine, ConfigurationError without the image."""
    count = int(os.environ.get("FLEETML_BENCH_CONTAINERS", "1000"))
    name = os.environ.get("FLEETML_BENCH_IMAGE", "fleetml/serving")
    yield from _figures("ours", count, _ours(name))
    with contextlib.redirect_stdout(io.StringIO()), _kfp(name) as fail:
        peer = list(_figures("kfp.local", count // 10, fail))
    yield from peer


def _figures(who: str, count: int, fail: Callable[[], bool]) -> Iterator[tuple[str, float, str]]:
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = sum(pool.map(lambda _: fail(), range(count)))
    taken = time.perf_counter() - began
    yield f"{who}: told as failed, of {count}", told, ""
    yield f"{who}: a container, {AT_ONCE} at a time", taken / count, "s"


def _ours(name: str) -> Callable[[], bool]:
    runner = DockerRunner()
    command = Command(FAIL, Image(name, Path(), reference=name, digest=runner.pin(name, True)))

    def fail() -> bool:
        exit = runner.run(command, lambda line: None, threading.Event())
        return exit.status == 3 and exit.ended == "itself"

    return fail


@contextlib.contextmanager
def _kfp(name: str) -> Iterator[Callable[[], bool]]:
    from kfp import local
    from kfp.local.docker_task_handler import DockerTaskHandler
    from kfp.local.status import Status

    with tempfile.TemporaryDirectory() as folder:
        runner = local.DockerRunner(network_mode="host")

        def fail() -> bool:
            try:
                return DockerTaskHandler(name, list(FAIL), folder, runner).run() is Status.FAILURE
            except Exception:  # told as an error, which is no success either
                return True

        yield fail
