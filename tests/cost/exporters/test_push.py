"""What is pushed, to a receiver of ours, to VictoriaMetrics, to a Pushgateway."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetml.cost.exporters.push import Pushing, Receiver
from fleetml.errors import ConfigurationError
from fleetml.stack.ports import free
from fleetml.stack.processes import wait_until
from tests.cost.exporters.measured import idle, scenario, write
from tests.cost.exporters.test_service import Shown

QUALITY = {"vmaf_score": 92.1}


@pytest.fixture
def packed(tmp_path: Path) -> bytes:
    folder = tmp_path / "results"
    folder.mkdir()
    write(folder, idle(), scenario("A B", **QUALITY))
    shown = Shown(folder)
    assert shown.exporters.text() == b""
    shown.look()
    return shown.exporters.text()


@contextlib.contextmanager
def receiving(statuses: list[int]) -> Iterator[tuple[str, list[tuple[str, str, dict[str, str], bytes]]]]:
    """Yield an address and what is sent there; the statuses answer in turn, the last for good."""
    got: list[tuple[str, str, dict[str, str], bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.command, self.path, dict(self.headers), body))
            self.send_response(statuses[min(len(got), len(statuses)) - 1])
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(b"said so")

        do_PUT = do_POST

        def do_GET(self) -> None:
            got.append((self.command, self.path, {}, b""))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *known: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", got
        server.shutdown()


@contextlib.contextmanager
def started(*command: str) -> Iterator[str]:
    """Run a server that listens where its last word says; yield its address."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} (Debian: apt-get install {command[0]})")
    address = f"127.0.0.1:{free()}"
    with subprocess.Popen(
        [*command[:-1], command[-1] + address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            assert wait_until(lambda: _answers(f"http://{address}/metrics"), 60, 0.05)
            yield f"http://{address}"
        finally:
            server.terminate()


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(urllib.request.urlopen(url, timeout=5).read())
    return False


def test_all_that_is_told_is_pushed_with_the_token(packed: bytes) -> None:
    with receiving([204]) as (address, got):
        assert Receiver.of(f"{address}/api/v1/import/prometheus?extra_label=site=a", "a-token").push(packed) == ""
    [(method, path, headers, body)] = got
    assert (method, path) == ("POST", "/api/v1/import/prometheus?extra_label=site=a")
    assert headers["Authorization"] == "Bearer a-token"
    told = gzip.decompress(body).decode()
    assert all(f"\n{name} 1\n" in told for name in ("cost_exporter_alive", "results_exporter_up"))
    assert 'qoe_vmaf_score{scenario="A_B"} 92.1\n' in told


def test_what_is_not_taken_is_told_and_pushed_again(packed: bytes) -> None:
    with receiving([302]) as (address, got):
        assert Receiver.of(f"{address}/api/v1/import/prometheus").push(packed) == "HTTP 302 said so"
        assert [method for method, *_ in got] == ["POST"]  # it goes nowhere else
    with receiving([500, 404, 200]) as (address, got):
        receiver = Receiver.of(f"{address}/metrics/job/cost")
        assert receiver.push(packed) == "HTTP 500 said so"
        assert receiver.push(packed) == "HTTP 404 said so"
        assert receiver.push(packed) == ""
        assert [method for method, *_ in got] == ["PUT"] * 3
        pushing = Pushing(receiver, 3600.0, lambda: packed)
        pushing.start()
        pushing.changed()
        assert wait_until(lambda: len(got) == 4, 30, 0.01)
    pushing = Pushing(receiver, 0.01, lambda: packed)
    pushing.start()
    assert wait_until(lambda: bool(pushing.faults()), 30, 0.01)
    assert f"{address}/metrics/job/cost did not take what was pushed" in pushing.faults()[0]


@pytest.mark.parametrize(
    "url", ["http://host/api/v1/write", "host:9091", "http://u:secret@host/metrics/job/x", "http://host/metrics"]
)
def test_what_takes_no_text_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="--push is") as refused:
        Receiver.of(url)
    assert "secret" not in str(refused.value)


def _ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def test_victoria_metrics_takes_and_tells_it(packed: bytes, tmp_path: Path) -> None:
    with started("victoria-metrics", f"-storageDataPath={tmp_path}/data", "-httpListenAddr=") as address:
        assert Receiver.of(f"{address}/api/v1/import/prometheus?extra_label=job=exporters").push(packed) == ""
        found: list[Any] = []

        def told() -> bool:
            query = urllib.parse.urlencode(
                {"query": 'cost_usd_per_hour{scenario="A_B"}', "latency_offset": "0s", "nocache": "1"}
            )
            found[:] = _ask(f"{address}/api/v1/query?{query}")["data"]["result"]
            return bool(found)

        assert wait_until(told, 60, 0.2)
        assert float(found[0]["value"][1]) == pytest.approx(0.0072)
        assert found[0]["metric"]["job"] == "exporters"


def test_a_pushgateway_takes_and_tells_it(packed: bytes) -> None:
    with started("prometheus-pushgateway", "--web.listen-address=") as address:
        receiver = Receiver.of(f"{address}/metrics/job/exporters")
        assert receiver.push(packed) == ""
        groups = _ask(f"{address}/api/v1/metrics")["data"]
        [sample] = [each for each in groups[0]["cost_usd_per_hour"]["metrics"] if each["labels"]["scenario"] == "A_B"]
        assert float(sample["value"]) == pytest.approx(0.0072)
        assert receiver.push(gzip.compress(b"cost_exporter_alive 1\n")) == ""  # replaces all of it
        assert "cost_usd_per_hour" not in _ask(f"{address}/api/v1/metrics")["data"][0]
