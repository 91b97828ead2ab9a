"""Live traffic over gRPC, and the metrics of it arriving meanwhile: two threads that go on until they are told to end."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.demo_drift.fleet import Fleet
from fleetml.errors import FleetMLError
from fleetml.serving.client import Client

TIMEOUT = 30.0
MINUTES = 60


class Traffic(threading.Thread):
    """Asks about every VM each `stride`, one stride every `seconds`: the fleet's time runs that much faster than ours.

    `now` is the fleet's time; `asked` counts requests, `failed` holds (time, what the server said) of those without an answer;
    `slowest` is the longest wait in seconds.
    """

    def __init__(self, address: str, fleet: Fleet, begin: datetime, context: int, stride: timedelta, seconds: float):
        super().__init__(name="traffic", daemon=True)
        self._address, self._fleet, self._context = address, fleet, context
        self._stride, self._seconds = stride, seconds
        self.now = begin
        self.asked = 0
        self.failed: list[tuple[float, str]] = []
        self.slowest = 0.0
        self.over = threading.Event()

    def run(self) -> None:
        with Client(self._address, timeout=TIMEOUT) as client:
            due = time.monotonic()
            while not self.over.is_set() and self.now + self._stride < self._fleet.end:
                self._round(client)
                self.now += self._stride
                due = max(due + self._seconds, time.monotonic() - self._seconds)
                self.over.wait(max(0.0, due - time.monotonic()))

    def _round(self, client: Client) -> None:
        for each in self._fleet.questions(self.now, self._context):
            began = time.monotonic()
            try:
                client.forecast(self._fleet.target, each.vm_id, each.history, MINUTES, each.covariates, self.now)
            except FleetMLError as error:
                self.failed.append((time.time(), str(error)))
            self.asked += 1
            self.slowest = max(self.slowest, time.monotonic() - began)

    def span(self, hours: float) -> float:
        """Return the hours of ours in which `hours` of the fleet's pass."""
        return hours * self._seconds / self._stride.total_seconds()


class Feed(threading.Thread):
    """Writes what was measured until the traffic's now to `path`, and tells the truth of it by ``fleetml observe``, again and again.

    `told` is the fleet's time until which the truth is known; `error` what kept the last one from being told.
    """

    def __init__(self, traffic: Traffic, fleet: Fleet, path: Path, environment: Mapping[str, str], seconds: float):
        super().__init__(name="feed", daemon=True)
        self._traffic, self._fleet, self.path = traffic, fleet, path
        self._environment, self._seconds = environment, seconds
        self.told = traffic.now
        self.error = ""

    def run(self) -> None:
        while not self._traffic.over.is_set():
            self.tell()
            self._traffic.over.wait(self._seconds)

    def tell(self) -> None:
        """Tell what is known by now."""
        until = self._traffic.now
        self._fleet.write(self.path, until)
        days = -(-(until - self.told) // timedelta(days=1)) + 1
        command = [sys.executable, "-m", "fleetml", "observe", self._fleet.target, str(self.path)]
        done = subprocess.run(
            [*command, "-p", f"window_days={days}"],
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            self.error = (done.stderr or done.stdout).strip()[-500:]
        else:
            self.told, self.error = until, ""
