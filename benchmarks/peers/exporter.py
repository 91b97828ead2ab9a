"""A cost exporter as prometheus_client's documentation teaches: a collector that reads and computes when it is scraped.

``python -m benchmarks.peers.exporter FOLDER PORT``; names and labels are those of our cost exporter.
"""

import itertools
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily

LABELS = ("scenario", "streams", "bitrate", "encoder", "currency", "service")
NAMES = (
    *("cost_total_load_aware", "cost_energy_load_aware", "cost_compute_load_aware", "cost_per_pixel"),
    *("cost_per_watch_hour", "cost_usd_per_hour", "cost_monthly_projection", "cost_monthly_savings"),
    *("co2_emissions_kg_per_hour", "co2_monthly_projection", "co2_monthly_avoided"),
)
PER_KWH, PER_CORE_HOUR, GRAMS = 0.12, 0.048, 400.0


class Costs:
    """The collector over a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = {name: GaugeMetricFamily(name, name, labels=LABELS) for name in NAMES}
        for path in sorted(self.folder.glob("test_results_*.json")):
            scenarios = json.loads(path.read_text())["scenarios"]
            idle = next((mean(each["power_watts"]) for each in scenarios if "Baseline" in each["name"]), None)
            for each in scenarios:
                streams = each["name"].split()[0] if "Streams" in each["name"] else "1"
                labels = (
                    each["name"].replace(" ", "_"),
                    streams,
                    each["bitrate"],
                    each["encoder"],
                    "USD",
                    "cost-analysis",
                )
                for family, value in zip(families.values(), figures(each, idle), strict=True):
                    if value is not None:
                        family.add_metric(labels, value)
        yield from families.values()


def figures(each: dict, idle: float | None) -> tuple[float | None, ...]:
    watts, hours = mean(each["power_watts"]), each["duration"] / 3600
    energy = trapezoid(each["power_watts"], each["step_seconds"]) * PER_KWH / 3.6e6
    compute = trapezoid(each["cpu_usage_cores"], each["step_seconds"]) * PER_CORE_HOUR / 3600
    sizes = [tuple(map(int, out["resolution"].split("x"))) for out in each["outputs"]]
    pixels = sum(
        wide * high * out["fps"] * each["duration"] for (wide, high), out in zip(sizes, each["outputs"], strict=True)
    )
    hourly, kilograms, total = watts / 1000 * PER_KWH, watts / 1000 * GRAMS / 1000, energy + compute
    spared = None if idle is None else (idle - watts) / 1000 * 720
    return (
        *(total, energy, compute, total / pixels, total / (hours * each["viewers"]), hourly, hourly * 720),
        *(spared and spared * PER_KWH, kilograms, kilograms * 720, spared and spared * GRAMS / 1000),
    )


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def trapezoid(values: list[float], step: float) -> float:
    return sum((one + other) / 2 * step for one, other in itertools.pairwise(values))


if __name__ == "__main__":
    registry = CollectorRegistry()
    registry.register(Costs(Path(sys.argv[1])))  # type: ignore[arg-type]
    start_http_server(int(sys.argv[2]), "127.0.0.1", registry)
    threading.Event().wait()
