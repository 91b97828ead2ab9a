"""Commands as processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "fleetml", *map(str, words)]


@contextmanager
def started(environ: Mapping[str, str], *words: object) -> Iterator[subprocess.Popen[str]]:
    """Start a command; should the test fail meanwhile, nothing of it stays."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command(*words), env=environ, stdout=pipe, stderr=pipe, text=True) as going:
        try:
            yield going
        finally:
            going.kill()


def gone(process: psutil.Process) -> bool:
    try:
        process.wait(30)
    except psutil.NoSuchProcess:
        pass
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
