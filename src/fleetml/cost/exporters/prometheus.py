"""Power and CPU of a scenario whose file has no samples, asked of Prometheus over [start_time, end_time].

| found | result |
|---|---|
| no answer within `SECONDS`, no connection, HTTP 5xx | absent; nobody else is asked in this look, all are asked again a minute later |
| a refusal (HTTP 4xx), no series or several, a gap, a sample that is none, power of 0 W | absent, and told; asked again when the file changes |
| a scenario that ends in the future, or within `SETTLED` | absent until then |
| no times, or a series in the file | nothing is asked |
"""

from __future__ import annotations

import http.client
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from fleetml import direct
from fleetml.cost import quantities
from fleetml.cost.exporters.remote import bearer, require_token, require_url
from fleetml.cost.scenarios import Scenario
from fleetml.errors import InvalidData, Unavailable
from fleetml.frozen import field, frozen, replace

TOKEN = "FLEETML_PROMETHEUS_TOKEN"  # noqa: S105 - its name
"""The variable that holds the token it wants."""
SECONDS = 5.0
STEP, POINTS = 5.0, 10_000
"""From sample to sample [s], and how many at most: Prometheus refuses more than 11,000."""
SETTLED = 30.0
"""Seconds after which what was measured has been scraped."""
KEPT = 10_000
"""Series that are remembered: when prices change, Prometheus may have forgotten what it said."""
_SERIES = ("power_watts", "cpu_usage_cores")
_LARGEST = 4 << 20
_CPU = "container_cpu_usage_seconds_total"

POWER = 'sum(rapl_power_watts{zone=~"package.*|"})'
"""Packages alone, or what has no zone: cores and memory are within their package."""
CPU = " or ".join(
    f"sum(rate({_CPU}{{{which}}}[30s]))"
    for which in ('name!="",name!~".*POD.*"', 'container!="",container!="POD"', 'name="",container="",id=""')
)
"""Containers by their names, as cAdvisor or a kubelet tells them; else the one series there is. What holds containers is left out."""


@frozen
class _Grid:
    """The instants of a range query [ms]: the first, from one to the next, how many steps. Prometheus reckons in milliseconds."""

    start: int
    step: int
    steps: int

    @classmethod
    def over(cls, start: float, end: float, step: float | None) -> _Grid:
        """Return the grid of a span [s], at a step or about `STEP` seconds that go into it a whole number of times."""
        first, duration = round(start * 1000), max(1, round((end - start) * 1000))
        if step is None:
            step = duration / 1000 / min(POINTS, max(1, round(duration / 1000 / STEP)))
        wide = max(1, int(step * 1000 + 1e-6))
        return cls(first, wide, duration // wide)

    def asked(self) -> dict[str, str]:
        end = self.start + self.step * self.steps
        return {"start": f"{self.start / 1000:.3f}", "end": f"{end / 1000:.3f}", "step": f"{self.step / 1000:.3f}"}


@frozen
class Prometheus:
    """An address (``http://host:port[/prefix]``), what is asked of it, and the token it wants ("": none)."""

    url: str
    power: str = POWER
    cpu: str = CPU
    token: str = field(default="", repr=False)
    _known: dict[tuple[Any, ...], array[float]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, url: str, power: str = "", cpu: str = "", token: str = "") -> Prometheus:
        """Return where to ask. Raises ConfigurationError for what is no http(s) URL or token."""
        address = require_url(url, "--prometheus").rstrip("/")
        return cls(address, power or POWER, cpu or CPU, require_token(token, "--prometheus", address))

    def lacks(self, scenario: Scenario) -> bool:
        """Say whether there is something to be asked of a scenario."""
        timed = scenario.start_time is not None and scenario.end_time is not None
        return timed and any(_is_missing(scenario, name) for name in _SERIES)

    def is_over(self, scenario: Scenario) -> bool:
        """Say whether what was measured of a scenario has been scraped."""
        return scenario.end_time is not None and time.time() >= scenario.end_time + SETTLED

    def complete(self, scenario: Scenario, remarks: list[str]) -> Scenario:
        """Return a scenario with the samples it lacks, as far as they can be had; why not is added to `remarks`.

        Raises Unavailable where Prometheus does not answer, or the scenario has only just ended.
        """
        if scenario.start_time is None or scenario.end_time is None:
            return scenario
        if not self.is_over(scenario):
            raise Unavailable(f"{scenario.name!r} has not been over for {SETTLED:g} s; asked later")
        grid = _Grid.over(scenario.start_time, scenario.end_time, scenario.step_seconds)
        if scenario.step_seconds is not None and not math.isclose(grid.step / 1000, scenario.step_seconds):
            remarks.append(
                f"{scenario.name!r}: Prometheus is asked at step_seconds of whole milliseconds, got "
                f"{scenario.step_seconds:g}; what the file lacks is absent"
            )
            return scenario
        found: dict[str, Any] = {"step_seconds": grid.step / 1000}
        for name, query, zero in zip(_SERIES, (self.power, self.cpu), (False, True), strict=True):
            if not _is_missing(scenario, name):
                continue
            try:
                found[name] = self._samples(query, grid, zero)
            except (InvalidData, ValueError) as error:
                remarks.append(f"{scenario.name!r}: {name} from Prometheus: {error}; it and what needs it are absent")
        return replace(scenario, **found) if len(found) > 1 else scenario

    def _samples(self, query: str, grid: _Grid, zero: bool) -> Sequence[float]:
        """Return what was asked before, or is asked now. Raises as `_ask` and `_whole` do."""
        key = (query, grid.start, grid.step, grid.steps)
        if key not in self._known:
            while len(self._known) >= KEPT:
                del self._known[next(iter(self._known))]
            self._known[key] = array("d", _whole(self._ask(query, grid), grid, zero))
        return tuple(self._known[key])

    def _ask(self, query: str, grid: _Grid) -> list[Mapping[str, Any]]:
        """Return the series of a range query. Raises Unavailable, and InvalidData for a refusal."""
        asked = urllib.parse.urlencode({"query": query, **grid.asked()})
        headers = bearer(self.token)
        request = urllib.request.Request(f"{self.url}/api/v1/query_range", asked.encode(), headers)  # noqa: S310
        try:
            with direct.opener(self.url).open(request, timeout=SECONDS) as answer:
                return list(json.loads(_read(answer))["data"]["result"])
        except urllib.error.HTTPError as error:
            with error:
                said = f"HTTP {error.code} {error.read(300).decode(errors='replace')}".strip()
            if error.code < 500:
                wants = f"; give the token that it wants, {TOKEN}, to a pipeline by the secret 'prometheus'"
                raise InvalidData(f"{self.url} refuses {query!r} with {said}{wants * (error.code == 401)}") from None
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            said = str(error) or type(error).__name__
        raise Unavailable(
            f"Prometheus at {self.url} must answer within {SECONDS:g} s, got {said}; what it knows is absent until it does"
        )


def _is_missing(scenario: Scenario, name: str) -> bool:
    """Say whether a file has no series: one that it has and that was refused is not replaced by another."""
    return not getattr(scenario, name) and name not in scenario.refused


def _read(answer: http.client.HTTPResponse) -> bytes:
    """Raises TimeoutError for who sends drop by drop, ValueError for who sends without end."""
    end, parts, size = time.monotonic() + SECONDS, [], 0
    while part := answer.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > _LARGEST or time.monotonic() > end:
            raise ValueError(f"an answer that is too long or too slow ({size} bytes)")
    return b"".join(parts)


def _whole(series: list[Mapping[str, Any]], grid: _Grid, zero: bool) -> tuple[float, ...]:
    """Return the samples of one series without a gap. Raises InvalidData or ValueError."""
    if len(series) != 1:
        raise InvalidData(f"a query gives one series, got {len(series)}")
    values = series[0].get("values") or []
    if len(values) != grid.steps + 1:
        raise InvalidData(f"there is a sample every {grid.step / 1000:g} s, {grid.steps + 1} in all, got {len(values)}")
    return quantities.samples([float(value) for _, value in values], zero)
