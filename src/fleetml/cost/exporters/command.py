"""What the exporters are told when they start, and how they run until they are told to end."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from fleetml.access import Access
from fleetml.cost.exporters.model import Model
from fleetml.cost.exporters.prices import PREFIX, Current, variables
from fleetml.cost.exporters.prometheus import TOKEN, Prometheus
from fleetml.cost.exporters.push import Pushing, Receiver
from fleetml.cost.exporters.server import Endpoint
from fleetml.cost.exporters.service import Exporters, Sources
from fleetml.cost.results_files import PATTERN
from fleetml.errors import ConfigurationError

PORTS = {"cost": 9504, "qoe": 9503, "results": 9502}
OFF = -1
PUSH_TOKEN = "FLEETML_PUSH_TOKEN"  # noqa: S105 - its name
_PRICES = {
    "region": "REGION",
    "currency": "CURRENCY",
    "energy_price": "PRICE_PER_KWH",
    "cpu_price": "PRICE_PER_CORE_HOUR",
    "gpu_price": "PRICE_PER_GPU_HOUR",
    "intensity": "GRAMS_PER_KWH",
}

_TURN = 0.001
"""Seconds that computing goes on while a scrape waits for its turn; Python's own are five times as many."""

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which folder, which endpoints, at what prices, who may ask."""
    add = parser.add_argument
    add("--folder", type=Path, required=True, help=f"where {PATTERN} appear")
    for name, port in PORTS.items():
        add(
            f"--{name}",
            type=_port,
            default=port,
            metavar="PORT",
            help=f"of the {name} exporter; 0: any free one, off: none (default: {port})",
        )
    add("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    add("--seconds", type=_seconds, default=2.0, help="from look to look at the folder (default: %(default)s)")
    add("--region", help="whose prices and CO2 hold (default: FLEETML_COST_REGION)")
    add("--currency", help="of all prices, three letters (default: FLEETML_COST_CURRENCY, else USD)")
    add("--energy-price", metavar="PRICE", help="of a kWh (default: the region's)")
    add("--cpu-price", metavar="PRICE", help="of a core-hour (default: FLEETML_COST_PRICE_PER_CORE_HOUR)")
    add("--gpu-price", metavar="PRICE", help="of an hour of a GPU core (default: as a CPU core's)")
    add("--intensity", metavar="GRAMS", help="of CO2e a kWh emits (default: the region's)")
    add("--model", type=Path, metavar="FILE", help="a power model (JSON), for the predicted figures")
    add(
        "--prometheus",
        metavar="URL",
        default="",
        help="asked for the samples that files lack (default: they stay absent)",
    )
    add("--power-query", metavar="PROMQL", default="", help="one series in W (default: RAPL's packages)")
    add("--cpu-query", metavar="PROMQL", default="", help="one series in cores (default: the containers')")
    add(
        "--push",
        metavar="URL",
        help="push there, too: VictoriaMetrics' /api/v1/import/prometheus, a Pushgateway's /metrics/job/…",
    )
    add("--push-seconds", type=_seconds, default=60.0, help="from push to push (default: %(default)s)")
    add("--tokens", type=Path, help="file of tokens: '<token> <client> [<end>]' a line (default: anybody may ask)")
    add("--tls-certificate", type=Path, help="PEM file (default: no TLS)")
    add("--tls-key", type=Path, help="PEM file")


def serve(given: argparse.Namespace, environ: Mapping[str, str], home: Path, token: Callable[[str], str]) -> int:
    """Serve until SIGTERM or SIGINT; return 0. `token` gives the secret of an API of prices by its name, "": there is none.

    Raises ConfigurationError, and Unavailable for a port that is taken, before anything is served.
    """
    sys.setswitchinterval(_TURN)
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    rates = _rates(given, environ, home, token)
    model = Model(given.model.absolute()) if given.model else None
    sources = Sources(rates, model or (lambda: None), _prometheus(given, environ))
    exporters = Exporters(_folder(given.folder), sources, _wanted(given))
    receiver = Receiver.of(given.push, environ.get(PUSH_TOKEN, "")) if given.push else None
    with contextlib.ExitStack() as running:
        for endpoint in _endpoints(given, exporters):
            running.enter_context(endpoint)
            running.callback(endpoint.shutdown)
            threading.Thread(target=endpoint.serve_forever, name="endpoint", daemon=True).start()
        pushing = Pushing(receiver, given.push_seconds, exporters.text) if receiver else None
        if pushing:
            pushing.start()

        def after(changed: bool) -> tuple[str, ...]:
            if changed and pushing:
                pushing.changed()
            return (*rates.faults, *(model.faults if model else ()), *(pushing.faults() if pushing else ()))

        exporters.run(given.seconds, end, after)
    return 0


def _rates(given: argparse.Namespace, environ: Mapping[str, str], home: Path, token: Callable[[str], str]) -> Current:
    """Return the prices that hold. Raises ConfigurationError, which names the option where one was given, not its variable."""
    options = {name: getattr(given, option) for option, name in _PRICES.items()}
    try:
        return Current(variables(environ, options), home, token)
    except ConfigurationError as error:
        said = str(error)
        for option, name in _PRICES.items():
            if options[name] is not None:
                said = said.replace(f"{PREFIX}{name}", f"--{option.replace('_', '-')}")
        raise ConfigurationError(said) from None


def _prometheus(given: argparse.Namespace, environ: Mapping[str, str]) -> Prometheus | None:
    if not given.prometheus:
        return None
    return Prometheus.of(given.prometheus, given.power_query, given.cpu_query, environ.get(TOKEN, ""))


def _endpoints(given: argparse.Namespace, exporters: Exporters) -> list[Endpoint]:
    """Return the endpoints, which listen; tell where. Raises as `serve` does, and then none listens."""
    access = Access(given.tls_certificate, given.tls_key, given.tokens)
    if said := access.exposed(given.host):
        log.warning("%s", said)
    with contextlib.ExitStack() as opened:
        endpoints = []
        for name, port in _wanted(given).items():
            endpoint = opened.enter_context(Endpoint(given.host, port, exporters.boards[name], access))
            endpoints.append(endpoint)
            scheme, host = "https" if access.certificate else "http", given.host.strip("[]")
            place = f"[{host}]" if ":" in host else host
            print(f"{name} {scheme}://{place}:{endpoint.server_port}/metrics", flush=True)  # noqa: T201
        opened.pop_all()
        return endpoints


def _wanted(given: argparse.Namespace) -> dict[str, int]:
    """Return the port of each exporter that is not off."""
    wanted = {name: port for name in PORTS if (port := getattr(given, name)) != OFF}
    if not wanted:
        raise ConfigurationError("at least one exporter runs, got none; leave one of --cost, --qoe, --results on")
    return wanted


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ConfigurationError(f"--folder must be a folder, {path} is none; make it, or mend --folder")
    return path.absolute()


def _port(text: str) -> int:
    if text == "off":
        return OFF
    if not text.isdecimal() or not int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"a port is from 0 to 65535, or off, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"seconds are from 0.1 to 86400, got {text!r}")
    return seconds
