"""What files lack is asked of Prometheus; what it does not say well is absent."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetml.cost.catalogue import Prices
from fleetml.cost.exporters import prometheus as asking
from fleetml.cost.exporters import service
from fleetml.cost.exporters.prometheus import Prometheus
from fleetml.cost.exporters.text import Rates
from fleetml.errors import ConfigurationError
from fleetml.stack.ports import free
from fleetml.stack.processes import wait_until
from tests.cost.exporters.measured import START, scenario, write
from tests.cost.exporters.test_service import COST, RATES, RESULTS, Shown

Answer = Callable[[dict[str, str]], Any]
BARE = {"duration": None, "power_watts": None, "cpu_usage_cores": None, "step_seconds": None}


class Fake:
    """Answers range queries; `asked` are those it got, `answer` makes a status and a body of one."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.tokens: list[str | None] = []
        self.answer: Answer = lambda asked: series(asked, 24.0 if "rapl_power_watts" in asked["query"] else 2.0)
        self.url = ""


def series(asked: dict[str, str], value: float | str, drop: int = 0, copies: int = 1) -> tuple[int, Any]:
    """Return what Prometheus answers where a series has the same value all the time."""
    start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
    values = [[start + place * step, str(value)] for place in range(int((end - start) / step + 1e-9) + 1 - drop)]
    return 200, {"status": "success", "data": {"result": [{"metric": {}, "values": values}] * copies}}


@pytest.fixture
def fake() -> Iterator[Fake]:
    known = Fake()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/prefix/api/v1/query_range"
            asked = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            known.asked.append(asked)
            known.tokens.append(self.headers["Authorization"])
            status, body = known.answer(asked)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *known: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        known.url = f"http://127.0.0.1:{server.server_address[1]}/prefix/"
        yield known
        server.shutdown()


def shown(folder: Path, fake: Fake, **options: str) -> Shown:
    return Shown(folder, prometheus=Prometheus.of(fake.url, **options))


def test_power_and_cpu_are_asked_over_the_time_of_the_scenario(tmp_path: Path, fake: Fake) -> None:
    write(tmp_path, scenario("A", end_time=START + 120.0002, start_time=START, **BARE))
    rates = [Rates(Prices(0.12, 1.2)), RATES]
    found = Shown(tmp_path, prometheus=Prometheus.of(fake.url, token="secret"), rates=lambda: rates[0])
    found.look()
    rates.pop(0)
    assert found.look()
    told = found.told(COST)
    assert told["cost_energy_load_aware"] == {"A": pytest.approx(24 * 120 / 3.6e6 * 0.36, rel=1e-4)}
    assert told["cost_compute_load_aware"] == {"A": pytest.approx(2 * 120 / 3600 * 3.6, rel=1e-4)}
    assert [asked["start"] for asked in fake.asked] == ["1766947958.000"] * 2
    assert {asked["step"] for asked in fake.asked} == {"5.000"}
    assert "rapl_power_watts" in fake.asked[0]["query"]
    assert "container_cpu_usage_seconds_total" in fake.asked[1]["query"]
    assert fake.tokens == ["Bearer secret"] * 2
    assert len(fake.asked) == 2  # not again when prices change: it may have forgotten by then


def test_what_a_file_has_is_not_asked(tmp_path: Path, fake: Fake) -> None:
    write(
        tmp_path,
        scenario("A"),
        scenario("half", power_watts=None, step_seconds=2.5),
        scenario("refused", power_watts=[20.0, -1.0, 20.0]),
        scenario("untimed", start_time="unknown", **BARE),
    )
    found = shown(tmp_path, fake)
    found.look()
    assert [(asked["step"], "rapl" in asked["query"]) for asked in fake.asked] == [("2.500", True)]
    assert set(found.told(RESULTS)["results_scenario_mean_power_watts"]) == {"A", "half"}


def test_samples_of_a_file_keep_their_step(tmp_path: Path, fake: Fake) -> None:
    """Prometheus reckons in milliseconds: at 0.4 ms of every 10 less the file's own energy would be 4 % less."""
    write(tmp_path, scenario("A", cpu_usage_cores=None, power_watts=[20.0] * 962, step_seconds=0.0104))
    found = shown(tmp_path, fake)
    found.look()
    assert fake.asked == []
    assert found.told(RESULTS)["results_scenario_total_energy_joules"] == {"A": pytest.approx(20 * 961 * 0.0104)}
    assert "cost_compute_load_aware" not in found.told(COST)
    assert "step_seconds of whole milliseconds, got 0.0104" in found.ready()["problems"][0]


def test_queries_of_ones_own_are_asked(tmp_path: Path, fake: Fake) -> None:
    write(tmp_path, scenario("A", **BARE))
    fake.answer = lambda asked: series(asked, {"node_watts": 30.0, "node_cores": 1.0}[asked["query"]])
    found = shown(tmp_path, fake, power="node_watts", cpu="node_cores")
    found.look()
    assert found.told(RESULTS)["results_scenario_mean_power_watts"] == {"A": 30.0}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda asked: series(asked, 24.0, drop=1), "got 2"),
        (lambda asked: series(asked, 24.0, copies=2), "a query gives one series, got 2"),
        (lambda asked: series(asked, 24.0, copies=0), "a query gives one series, got 0"),
        (lambda asked: series(asked, "NaN"), "no finite number"),
        (lambda asked: series(asked, "-1"), "holds sample 0"),
        (lambda asked: series(asked, "words"), "could not convert"),
        (lambda asked: (400, {"status": "error", "error": "parse error"}), "refuses .* HTTP 400 .*parse error"),
        (lambda asked: (302, b""), "refuses .* HTTP 302"),
    ],
)
def test_what_is_no_whole_series_is_absent_and_told(tmp_path: Path, fake: Fake, answer: Answer, words: str) -> None:
    write(tmp_path, scenario("A", **BARE))
    fake.answer = answer
    found = shown(tmp_path, fake)
    found.look()
    told = found.told(RESULTS)
    assert told["results_scenarios_total"] == {"": 1.0}
    assert "results_scenario_mean_power_watts" not in told
    assert found.told(COST) == {"cost_exporter_alive": {"": 1.0}}
    assert any(re.search(words, each) for each in found.ready()["problems"]), found.ready()["problems"]


def test_power_of_zero_is_none(tmp_path: Path, fake: Fake) -> None:
    """An idle CPU is one; a machine that draws nothing is a meter that does not work."""
    write(tmp_path, scenario("A", **BARE))
    fake.answer = lambda asked: series(asked, 0)
    found = shown(tmp_path, fake)
    found.look()
    assert found.told(COST)["cost_compute_load_aware"] == {"A": 0.0}
    assert "cost_energy_load_aware" not in found.told(COST)


@pytest.mark.parametrize("answer", [(503, b"busy"), (200, b"<html>"), (200, {"data": None})])
def test_one_that_does_not_answer_is_asked_once_and_again_later(
    tmp_path: Path, fake: Fake, answer: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, *(scenario(name, **BARE) for name in "AB"), scenario("C"))
    good, fake.answer = fake.answer, lambda asked: answer
    found = shown(tmp_path, fake)
    found.look()
    assert len(fake.asked) == 1  # not of every scenario: each may take until its time-out
    assert set(found.told(RESULTS)["results_scenario_mean_power_watts"]) == {"C"}
    assert found.ready()["status"] == 200
    assert any("must answer within" in each for each in found.ready()["problems"])
    fake.answer = good
    found.look()
    assert len(fake.asked) == 1
    later = time.monotonic() + service.AGAIN
    monkeypatch.setattr(service.time, "monotonic", lambda: later)
    assert found.look()
    assert found.told(RESULTS)["results_scenario_mean_power_watts"] == {"A": 24.0, "B": 24.0, "C": 20.0}
    assert found.ready()["problems"] == []


def test_one_that_is_down_or_silent_holds_up_nobody_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SECONDS", 0.2)
    write(tmp_path, *(scenario(name, **BARE) for name in "AB"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = Shown(tmp_path, prometheus=Prometheus.of(f"http://127.0.0.1:{silent.getsockname()[1]}"))
        found.look()
    assert any("timed out" in each for each in found.ready()["problems"])
    assert "results_scenario_mean_power_watts" not in found.told(RESULTS)


def test_a_scenario_that_is_not_over_is_asked_later(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    write(
        tmp_path,
        scenario("over", start_time=now - 100, end_time=now - 90, **BARE),
        scenario("A", start_time=now - 10, end_time=now, **BARE),
    )
    found = shown(tmp_path, fake)
    found.look()
    assert set(found.told(RESULTS)["results_scenario_mean_power_watts"]) == {"over"}
    later = time.monotonic() + service.AGAIN
    monkeypatch.setattr(service.time, "monotonic", lambda: later)
    monkeypatch.setattr(asking.time, "time", lambda: now + asking.SETTLED)
    found.look()
    assert set(found.told(RESULTS)["results_scenario_mean_power_watts"]) == {"over", "A"}


def test_of_scenarios_of_two_files_at_the_same_time_nothing_is_asked(tmp_path: Path, fake: Fake) -> None:
    """The power that Prometheus tells is of both; it is asked for again when one of the files has gone."""
    apart = scenario("apart", start_time=START + 200, end_time=START + 210, **BARE)
    write(tmp_path, scenario("A", start_time=START, end_time=START + 10, **BARE), apart)
    write(tmp_path, scenario("A", start_time=START, end_time=START + 10, **BARE), name="test_results_copy.json")
    found = shown(tmp_path, fake)
    found.look()
    assert found.told(RESULTS)["results_scenario_mean_power_watts"] == {"A": 24.0, "apart": 24.0}
    other = write(tmp_path, scenario("B", start_time=START + 5, end_time=START + 15), name="test_results_2.json")
    assert found.look()
    assert found.told(RESULTS)["results_scenario_mean_power_watts"] == {"B": 20.0, "apart": 24.0}
    assert any("'A' was measured at the same time" in each for each in found.ready()["problems"])
    other.unlink()
    assert found.look()
    assert found.told(RESULTS)["results_scenario_mean_power_watts"] == {"A": 24.0, "apart": 24.0}
    assert found.ready()["problems"] == []


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://x", "http://", "http://user:secret@host", "http://a b"])
def test_what_is_no_address_is_refused_without_telling_a_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="--prometheus is an http") as refused:
        Prometheus.of(url)
    assert "secret" not in str(refused.value)


needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no Prometheus (Debian: apt-get install prometheus)"
)


@contextlib.contextmanager
def filled(folder: Path, start: float, end: float) -> Iterator[str]:
    """Run a Prometheus that scraped RAPL and cAdvisor every 5 s in that time; yield its address."""
    told = {
        'rapl_power_watts{zone="package-0"}': lambda second: 20.0,
        'rapl_power_watts{zone="package-1"}': lambda second: 4.0,
        'rapl_power_watts{zone="core"}': lambda second: 15.0,  # within its package
        'container_cpu_usage_seconds_total{id="/",name=""}': lambda second: 9.0 * second,  # holds the others
        'container_cpu_usage_seconds_total{id="/a",name="a"}': lambda second: 1.5 * second,
        'container_cpu_usage_seconds_total{id="/b",name="b"}': lambda second: 0.5 * second,
    }
    lines = ["# TYPE rapl_power_watts gauge", "# TYPE container_cpu_usage_seconds counter"]
    for series, value in told.items():
        lines += [f"{series} {value(at)} {start - 60 + at:.3f}" for at in range(0, int(end - start) + 120, 5)]
    (folder / "told.txt").write_text("\n".join([*lines, "# EOF", ""]))
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    blocks = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "told.txt"), str(folder / "data")]
    subprocess.run(blocks, check=True, capture_output=True)
    address = f"127.0.0.1:{free()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with subprocess.Popen(
        [*command, f"--web.listen-address={address}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            assert wait_until(lambda: _ready(f"http://{address}/-/ready"), 60, 0.05)
            yield f"http://{address}"
        finally:
            server.terminate()


def _ready(url: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(urllib.request.urlopen(url, timeout=5).status == 200)
    return False


@needs_prometheus
def test_of_a_real_prometheus_packages_and_containers_are_summed(tmp_path: Path) -> None:
    folder, start = tmp_path / "results", float(int(time.time()) - 3600)
    folder.mkdir()
    before = scenario("before", start_time=start - 1000, end_time=start - 900, **BARE)
    write(folder, before, scenario("A", start_time=start + 0.4, end_time=start + 60.7, **BARE))
    with filled(tmp_path, start, start + 120) as address:
        found = Shown(folder, prometheus=Prometheus.of(address))
        found.look()
    told = found.told(RESULTS)
    assert told["results_scenario_mean_power_watts"] == {"A": 24.0}
    assert told["results_scenario_total_energy_joules"] == {"A": pytest.approx(24 * 60.3, rel=1e-3)}
    assert told["results_scenario_container_cpu_percent"] == {"A": pytest.approx(200.0)}
    assert all("'before'" in each and "got 0" in each for each in found.ready()["problems"])
