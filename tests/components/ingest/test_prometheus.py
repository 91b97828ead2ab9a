"""Range queries against a real Prometheus that scrapes a real node exporter."""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from components.ingest import prometheus
from components.ingest.mapping import Queries
from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter, Unavailable

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("prometheus-node-exporter")),
    reason="prometheus and prometheus-node-exporter are not installed",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: node
    static_configs:
      - {{targets: ["127.0.0.1:{one}"], labels: {{region: eu-central}}}}
      - {{targets: ["127.0.0.1:{two}"], labels: {{region: us-east}}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus with two node exporters and a few samples of each."""
    folder = tmp_path_factory.mktemp("prometheus")
    one, two, port = free_port(), free_port(), free_port()
    (folder / "prometheus.yml").write_text(CONFIG.format(one=one, two=two))
    commands = [["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{exporter}"] for exporter in (one, two)]
    commands.append(
        [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
    )
    log = (folder / "log").open("wb")
    running = [subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) for command in commands]
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for_samples(address, running, folder)
        yield address
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(timeout=30)
        log.close()


def _wait_for_samples(address: str, running: list[subprocess.Popen], folder: Path, seconds: float = 60) -> None:
    """Poll until both exporters have been scraped five times."""
    query = urllib.parse.urlencode(
        {"query": "min(count_over_time(node_memory_MemTotal_bytes[1m])) + 0 * count(up == 1)"}
    )
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert all(process.poll() is None for process in running), (folder / "log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{address}/api/v1/query?{query}", timeout=5) as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:
            result = []
        if result and float(result[0]["value"][1]) >= 5:
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"no samples within {seconds} s: {(folder / 'log').read_text()[-2000:]}")


@needs_prometheus
def test_node_exporter_by_default(run, server: str):
    frame, figures = run(f"prometheus+{server}?step=1", days=1)
    assert figures["vms"] == 2
    assert sorted(frame["region"].unique().to_list()) == ["eu-central", "us-east"]
    total = int(Path("/proc/meminfo").read_text().split()[1])
    assert frame["memory_capacity"].unique().to_list() == [total]
    assert 0 < frame["memory_usage"].mean() < total
    assert frame["cpu_usage"].drop_nulls().len() > 0
    assert frame["cpu_usage"].drop_nulls().is_between(0, 100).all()
    assert frame["cpu_cores"].min() >= 1
    assert frame["timestamp"].max() <= datetime.now(UTC)


@needs_prometheus
def test_a_mapping_of_ones_own(run, server: str, tmp_path: Path):
    (tmp_path / "m.yaml").write_text(
        "queries: {latency: 'scrape_duration_seconds * 1000'}\nprometheus: {step_seconds: 1}"
    )
    frame, figures = run(f"prometheus+{server}", tmp_path / "m.yaml", days=1)
    assert figures["vms"] == 2
    assert frame["latency"].min() > 0
    assert frame["region"].null_count() == frame.height


@needs_prometheus
@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("'rate('", "refused the query for latency with HTTP 400: .*parse error.*correct it in the mapping"),
        ("sum(up)", "without label 'instance'"),
        ("nothing_of_the_kind", "returned a series between"),
        ("'{__name__=~\"node_memory_Mem.*\"}'", "one series per VM"),
    ],
)
def test_a_wrong_query_is_named(run, server: str, tmp_path: Path, query: str, words: str):
    (tmp_path / "m.yaml").write_text(f"queries: {{latency: {query}}}")
    with pytest.raises(InvalidData, match=words):
        run(f"prometheus+{server}?step=1", tmp_path / "m.yaml", days=1)


@needs_prometheus
def test_a_span_before_the_first_scrape_has_nothing(run, server: str):
    with pytest.raises(InvalidData, match="was it then"):
        run(f"prometheus+{server}", days=1, end="2020-01-01")


def test_a_server_that_is_away(run):
    with pytest.raises(Unavailable, match="does not answer"):
        run(f"prometheus+http://127.0.0.1:{free_port()}", days=1)


@pytest.mark.parametrize(
    ("code", "body", "words"),
    [
        (503, b"starting", "HTTP 503: starting"),
        (401, b"who are you", "HTTP 401: who are you"),
        (200, b"[]", "does not answer as one"),
        (200, b'{"status": "error", "error": "x"}', "does not answer as one"),
        (200, b"<html>", "does not answer as one"),
    ],
)
def test_a_server_that_does_not_answer_as_prometheus_is_not_blamed_on_the_query(
    run, code: int, body: bytes, words: str
):
    answer = type("Answer", (_Recorder,), {"asked": [], "do_POST": lambda self: _say(self, code, body)})
    with ThreadingHTTPServer(("127.0.0.1", 0), answer) as fake:
        threading.Thread(target=fake.serve_forever, daemon=True).start()
        with pytest.raises(Unavailable, match=words):
            run(f"prometheus+http://127.0.0.1:{fake.server_port}", days=1)
        fake.shutdown()


@pytest.mark.parametrize(
    "address", ["http://me:s3cret@127.0.0.1:9", "ftp://127.0.0.1", "http://127.0.0.1:abc", "http://"]
)
def test_an_address_that_cannot_be_one_is_refused_and_a_password_is_not_repeated(run, address: str):
    with pytest.raises(InvalidParameter, match="a Prometheus source is") as refused:
        run(f"prometheus+{address}", days=1)
    assert "s3cret" not in str(refused.value)


def test_only_queries_suit_a_prometheus(run):
    with pytest.raises(ConfigurationError, match="no 'queries'"):
        run("prometheus+http://127.0.0.1:1", "example")
    with pytest.raises(InvalidParameter, match="the only option is step"):
        run("prometheus+http://127.0.0.1:1?resolution=3")


class _Recorder(BaseHTTPRequestHandler):
    """Answers each range query with one sample per step asked for, as VictoriaMetrics under a path does."""

    asked: list[tuple[str, dict[str, str]]]

    def do_POST(self) -> None:
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        self.asked.append((self.path, form))
        times = range(int(form["start"]), int(form["end"]) + 1, int(form["step"]))
        series = {"metric": {"instance": "a"}, "values": [[t, "NaN" if t == times[0] else "1.5"] for t in times]}
        body = json.dumps({"status": "success", "data": {"result": [series]}}).encode()
        _say(self, 200, body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _say(handler: BaseHTTPRequestHandler, code: int, body: bytes) -> None:
    handler.send_response(code)
    handler.end_headers()
    handler.wfile.write(body)


def test_a_long_window_is_asked_for_in_chunks():
    recorder = type("Recorder", (_Recorder,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), recorder) as fake:
        threading.Thread(target=fake.serve_forever, daemon=True).start()
        source = f"prometheus+http://127.0.0.1:{fake.server_port}/select/0/prometheus?step=60"
        queries = Queries("q", {"cpu_usage": "rate(x[$window])"})
        frame = prometheus.read(source, queries, 3, datetime(2026, 1, 4, tzinfo=UTC))
        fake.shutdown()
    assert [form["query"] for _, form in recorder.asked] == ["rate(x[60s])"] * 3
    assert {path for path, _ in recorder.asked} == {"/select/0/prometheus/api/v1/query_range"}
    assert frame.height == 3 * 1440
    assert frame["timestamp"].n_unique() == frame.height
    assert (frame["timestamp"].min(), frame["timestamp"].max()) == (
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 3, 23, 59, tzinfo=UTC),
    )
    assert frame["cpu_usage"].null_count() == 3
