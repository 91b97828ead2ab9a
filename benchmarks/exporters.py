"""A scrape of a thousand scenarios, the memory and the idle CPU of the exporters, beside one that computes when it is scraped.

``python -m benchmarks exporters``; a hundred files of ten scenarios with 25 samples each. Scrapes follow each other on one
connection, compressed as Prometheus asks for them, and plain.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.goals import Figure, judged
from fleetml.stack.ports import free

FILES, SCENARIOS, SCRAPES, IDLE_SECONDS = 100, 10, 500, 30.0
NAMES = ("cost", "qoe", "results")
GOALS = {f"{name}: scrape, p99, {how}": 10.0 for name in NAMES for how in ("gzip", "plain")} | {
    "three exporters in one process: memory": 60.0,
    "cost exporter alone: memory": 60.0,
}


def run() -> Iterator[Figure]:
    """Yield milliseconds, megabytes and per cent of a core."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _measurements(folder)
        yield from judged(_figures(folder), GOALS)


def _figures(folder: Path) -> Iterator[Figure]:
    with _exporters(folder) as (process, addresses):
        for name, address in addresses.items():
            yield from _scrapes(name, address)
            yield from _work(name, address, process.pid)
        yield from _process("three exporters in one process", process)
        yield from _change(folder, addresses["cost"])
        with _changing(folder / "test_results_000.json"):
            yield from _scrapes("results, a file changing every 2 s", addresses["results"])
    with _exporters(folder, "--qoe", "off", "--results", "off") as (process, addresses):
        yield from _scrapes("cost alone", addresses["cost"])
        yield from _process("cost exporter alone", process)
    port = free()
    command = [sys.executable, "-m", "benchmarks.peers.exporter", str(folder), str(port)]
    with subprocess.Popen(command) as process:
        try:
            address = f"http://127.0.0.1:{port}/metrics"
            _ready(address)
            yield from _scrapes("prometheus_client at the scrape", address, SCRAPES // 10)
            yield from _process("prometheus_client at the scrape", process)
        finally:
            process.terminate()


@contextlib.contextmanager
def _exporters(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    options = ["--folder", str(folder), "--cost", "0", "--qoe", "0", "--results", "0", *words]
    command = [sys.executable, "-m", "fleetml.cost.exporters", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout
            addresses = dict(process.stdout.readline().split() for _ in range(3 - words.count("off")))
            for address in addresses.values():
                _ready(address)
            yield process, addresses
        finally:
            process.terminate()


def _scrapes(who: str, address: str, count: int = SCRAPES) -> Iterator[Figure]:
    for how, header in (("gzip", "gzip"), ("plain", "identity")):
        taken, sizes = zip(*_asked(address, header, count), strict=True)
        ordered = sorted(taken)
        yield f"{who}: size, {how}", sizes[0] / 1e6, "MB"
        yield f"{who}: scrape, p50, {how}", ordered[count // 2], "ms"
        yield f"{who}: scrape, p99, {how}", ordered[int(count * 0.99)], "ms"


def _asked(address: str, coding: str, count: int) -> Iterator[tuple[float, int]]:
    """Yield the milliseconds until the whole answer is there, and its size in bytes."""
    parts = urllib.parse.urlsplit(address)
    with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=60)) as connection:
        for _ in range(count):
            began = time.perf_counter()
            connection.request("GET", parts.path, headers={"Accept-Encoding": coding})
            size = len(connection.getresponse().read())
            yield 1000 * (time.perf_counter() - began), size


def _work(who: str, address: str, pid: int, count: int = SCRAPES) -> Iterator[Figure]:
    """What a scrape takes of a core, which other work on the machine does not lengthen as it does the time until the answer."""
    for how, header in (("gzip", "gzip"), ("plain", "identity")):
        before = _cpu_seconds(pid)
        for _ in _asked(address, header, count):
            pass
        yield f"{who}: CPU of a scrape, {how}", 1000 * (_cpu_seconds(pid) - before) / count, "ms"


def _process(who: str, process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Iterator[Figure]:
    status = Path(f"/proc/{process.pid}/status").read_text()
    for name, about in (("VmRSS", "memory"), ("VmHWM", "memory, at most")):
        yield f"{who}: {about}", int(status.partition(f"{name}:")[2].split()[0]) / 1000, "MB"
    before, began = _cpu_seconds(process.pid), time.perf_counter()
    time.sleep(IDLE_SECONDS)
    used = (_cpu_seconds(process.pid) - before) / (time.perf_counter() - began)
    yield f"{who}: idle CPU", 100 * used, "% of a core"


def _change(folder: Path, address: str) -> Iterator[Figure]:
    """How long until a file that appears is told; one look every two seconds is most of it."""
    name = "test_results_new.json"
    found = json.loads((folder / "test_results_000.json").read_text())
    for each in found["scenarios"]:
        each["name"] = f"New {each['name']}"
    (folder / name).write_text(json.dumps(found))
    began = time.perf_counter()
    while "New_1_Streams" not in _get(address):
        time.sleep(0.02)
    yield "a new file is told after, looking every 2 s", time.perf_counter() - began, "s"
    (folder / name).unlink()


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Have a file change at each look while the context lasts: all pages are made again."""
    end = threading.Event()

    def change() -> None:
        while not end.wait(2.0):
            os.utime(path)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _get(address: str) -> str:
    parts = urllib.parse.urlsplit(address)
    with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=60)) as connection:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.read().decode() if answer.status == 200 else ""


def _ready(address: str) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            if "# HELP" in _get(address):
                return
        time.sleep(0.1)
    raise SystemExit(f"{address} did not answer")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measurements(folder: Path) -> None:
    """Write files of an idle machine and of transcodes with ever more streams."""
    noise = random.Random(0)
    for number in range(FILES):
        scenarios = [_scenario(noise, number, streams) for streams in range(SCENARIOS)]
        document = {"test_date": f"2026-01-01T{number // 60:02}:{number % 60:02}:00", "scenarios": scenarios}
        (folder / f"test_results_{number:03}.json").write_text(json.dumps(document))


def _scenario(noise: random.Random, number: int, streams: int) -> dict[str, object]:
    start = 1.76e9 + number * 3600 + streams * 150
    return {
        "name": f"{streams} Streams @ {1000 + number}k" if streams else "Baseline (Idle)",
        "bitrate": f"{1000 + number}k" if streams else "0k",
        "resolution": "1280x720",
        "fps": 30,
        "duration": 120,
        "encoder": "h264",
        "preset": "veryfast",
        "encoder_type": "cpu",
        "start_time": start,
        "end_time": start + 120,
        "outputs": [{"resolution": "1280x720", "fps": 30}],
        "viewers": 100,
        "vmaf_score": 92.1,
        "psnr_score": 41.0,
        "ssim_score": 0.98,
        "avg_fps": 29.9,
        "dropped_frames": 3,
        "total_frames": 3600,
        "power_watts": [8 + 3 * streams + noise.random() for _ in range(25)],
        "cpu_usage_cores": [0.1 + 0.3 * streams + noise.random() / 10 for _ in range(25)],
        "step_seconds": 5,
    }
