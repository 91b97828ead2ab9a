"""A local HTTP server that plays the APIs of prices and carbon intensities, well and badly; no real API is asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fleetml.cost.series import HOUR, hour_of, told

ELECTRICITY_MAPS, EIA_MIX, EIA_PRICE = (
    "/v3/carbon-intensity/history",
    "/v2/electricity/rto/fuel-type-data/data/",
    "/v2/electricity/retail-sales/data/",
)


class Played:
    """`answers` are (status, body) by path, a body being JSON unless it is bytes; `asked` are the questions, with their headers."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []
        self.headers: dict[str, str] = {}
        self.silent = threading.Event()  # while it is set nobody gets an answer
        self.address = ""


def intensities(zone: str = "DE", value: Any = 300, newest: float | None = None, **other: Any) -> dict[str, Any]:
    """Return what Electricity Maps says of a day: `value` in its newest hour, 100 more in those before."""
    last = hour_of(time.time() if newest is None else newest)
    hours = [(last - HOUR * back, value if not back else 400) for back in range(23, -1, -1)]
    rows = [{"zone": zone, "carbonIntensity": v, "datetime": told(h), "isEstimated": False} | other for h, v in hours]
    return {"zone": zone, "history": rows}


def mix(
    respondent: str = "PJM", newest: float | None = None, unit: str = "megawatthours", **energy: Any
) -> dict[str, Any]:
    """Return what the EIA says of one hour's generation by fuel [MWh]; it writes numbers as texts."""
    period = told(hour_of(time.time() if newest is None else newest))[:13]
    rows = [
        {"period": period, "respondent": respondent, "fueltype": fuel, "value": str(value), "value-units": unit}
        for fuel, value in energy.items()
    ]
    return {"response": {"total": str(len(rows)), "data": rows}}


def price(
    state: str = "VA", cents: Any = "9.5", month: str = "", unit: str = "cents per kilowatt-hour"
) -> dict[str, Any]:
    """Return what the EIA says of a state's commercial price."""
    month = month or time.strftime("%Y-%m", time.gmtime(time.time() - 60 * 24 * HOUR))
    row = {"period": month, "stateid": state, "sectorid": "COM", "price": cents, "price-units": unit}
    return {"response": {"data": [row]}}


@contextmanager
def playing() -> Iterator[Played]:
    """Yield the server while it runs."""
    played = Played()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            played.asked.append(
                (parts.path, parse_qs(parts.query), {name.lower(): value for name, value in self.headers.items()})
            )
            while played.silent.is_set() and not over.wait(0.01):
                pass
            status, body = played.answers.get(parts.path, (404, b"<html>not here</html>"))
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **played.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    over = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        played.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield played
        finally:
            over.set()
            server.shutdown()
            thread.join()
