"""The process: what it is told when it starts, where it listens, how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from fleetml.cost.exporters.__main__ import main
from fleetml.stack.processes import wait_until
from tests.cost.exporters.measured import idle, samples, scenario, write

FREE = ("--cost", "0", "--qoe", "0", "--results", "0")
ROOT = Path(__file__).parents[3]


@contextlib.contextmanager
def running(
    *words: str, command: tuple[str, ...] = ("fleetml.cost.exporters",), **environ: str
) -> Iterator[dict[str, str]]:
    """Run the exporters; yield the address of each. They must end well when they are told to."""
    known = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environ}
    with subprocess.Popen(
        [sys.executable, "-m", *command, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=known,
    ) as process:
        try:
            assert process.stdout
            expected = 3 - words.count("off")
            yield dict(process.stdout.readline().split() for _ in range(expected))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def told(url: str) -> Mapping[str, Mapping[str, float]]:
    """Return what a scrape tells once the folder was looked at."""
    assert wait_until(lambda: get(url)[0] == 200, 60, 0.05)
    return samples(get(url)[1])


@pytest.mark.parametrize("command", [("fleetml.cost.exporters",), ("fleetml", "exporters")])
def test_the_three_exporters_tell_what_appears_in_the_folder(tmp_path: Path, command: tuple[str, ...]) -> None:
    write(tmp_path, idle(), scenario("A", vmaf_score=90.0))
    options = (
        "--folder",
        str(tmp_path),
        *FREE,
        "--seconds",
        "0.1",
        "--energy-price",
        "0.5",
        "--cpu-price",
        "1",
        "--currency",
        "EUR",
    )
    with running(*options, command=command, FLEETML_HOME=str(tmp_path / "home")) as addresses:
        assert list(addresses) == ["cost", "qoe", "results"]
        assert all(address.startswith("http://127.0.0.1:") for address in addresses.values())
        assert told(addresses["cost"])["cost_usd_per_hour"]["A"] == pytest.approx(0.020 * 0.5)
        assert 'currency="EUR"' in get(addresses["cost"])[1]
        assert told(addresses["qoe"])["qoe_vmaf_score"] == {"A": 90.0}
        assert told(addresses["results"])["results_scenarios_total"] == {"": 2.0}
        write(tmp_path, scenario("B"), name="test_results_2.json")
        assert wait_until(lambda: "B" in told(addresses["cost"])["cost_usd_per_hour"], 60, 0.05)
        for path, status in {"health": 200, "ready": 200, "none": 404}.items():
            assert get(addresses["qoe"].replace("metrics", path))[0] == status


def test_an_exporter_that_is_off_listens_nowhere(tmp_path: Path) -> None:
    with running("--folder", str(tmp_path), "--cost", "off", "--qoe", "off", "--results", "0") as addresses:
        assert list(addresses) == ["results"]
        assert told(addresses["results"])["results_exporter_up"] == {"": 1.0}


def test_the_region_says_what_energy_costs_and_emits(tmp_path: Path) -> None:
    write(tmp_path, scenario("A"))
    with running("--folder", str(tmp_path), *FREE, "--region", "us-west-2", FLEETML_HOME=str(tmp_path)) as addresses:
        found = told(addresses["cost"])
        assert found["cost_usd_per_hour"]["A"] == pytest.approx(0.020 * 0.10)
        assert found["co2_emissions_kg_per_hour"]["A"] == pytest.approx(0.020 * 0.180)


def test_without_a_price_in_the_currency_of_all_no_other_is_taken(tmp_path: Path) -> None:
    """The table's prices are in US dollars: two currencies are never mixed."""
    write(tmp_path, scenario("A"))
    options = ("--folder", str(tmp_path), *FREE, "--currency", "EUR", "--cpu-price", "1")
    with running(*options, FLEETML_HOME=str(tmp_path)) as addresses:
        found = told(addresses["cost"])
        assert "cost_usd_per_hour" not in found
        assert found["cost_compute_load_aware"]["A"] == pytest.approx(2 * 10 / 3600)
        assert found["co2_emissions_kg_per_hour"]["A"] == pytest.approx(0.020 * 0.4)
        url = addresses["cost"].replace("metrics", "ready")
        assert wait_until(lambda: any("EUR" in each for each in json.loads(get(url)[1])["problems"]), 60, 0.05)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--folder", "/nowhere/at/all"), "--folder must be a folder, /nowhere/at/all is none"),
        (("--region", "eu-centrl-1"), "eu-central-1"),
        (("--energy-price", "cheap"), "--energy-price is a number, got 'cheap'; mend or unset it"),
        (("--cpu-price=-1",), "got --cpu-price=-1"),
        (("--gpu-price=-1",), "got --gpu-price=-1"),
        (("--intensity=-1",), "got --intensity=-1"),
        (("--currency", "euro"), "--currency is three letters"),
        (("--prometheus", "prometheus:9090"), "--prometheus is an http(s) URL"),
        (("--push", "http://host/api/v1/write"), "--push is VictoriaMetrics'"),
        (("--tokens", "/nowhere"), "must be readable"),
        (("--tls-key", "/nowhere"), "TLS needs a certificate and its key"),
        (("--cost", "off", "--qoe", "off", "--results", "off"), "at least one exporter"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert main(["--folder", str(tmp_path), *FREE, *words]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.startswith("error: ")


@pytest.mark.parametrize("words", [("--cost", "99999"), ("--qoe", "x"), ("--seconds", "0"), ("--push-seconds", "soon")])
def test_numbers_out_of_bounds_are_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--folder", str(tmp_path), *words])
    assert refused.value.code == 2
