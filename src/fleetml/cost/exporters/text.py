"""Prometheus' text format, and what one results file tells in it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fleetml.cost import catalogue
from fleetml.cost.scenarios import Scenario
from fleetml.frozen import frozen

Row = tuple[str, tuple[float | None, ...]]
"""The labels of a scenario as text, and its values in the order of the endpoint's names; None: there is no sample."""

DURATION = "qoe_computation_duration_seconds"
COST = catalogue.COST
QOE = {**catalogue.QOE, DURATION: "How long it took to compute the figures of the scenario [s]"}
RESULTS = {f"results_scenario_{name}": about for name, about in catalogue.RESULTS.items()}
_COMPUTE = "cost_compute_load_aware"


@frozen
class Rates:
    """Prices, of which the one of energy, its CO2 or both may be unknown: what needs them is absent then."""

    prices: catalogue.Prices
    priced: bool = True
    weighed: bool = True

    def known(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return the metrics of `COST` that need nothing unknown."""
        return {
            name: value
            for name, value in metrics.items()
            if (self.weighed if name.startswith("co2_") else self.priced or name == _COMPUTE)
        }


def cost_row(scenario: Scenario, baseline: Scenario | None, rates: Rates) -> Row | None:
    """Return what the cost exporter tells of a scenario, None for one without bitrate."""
    labels = catalogue.cost_labels(scenario, rates.prices.currency)
    if labels is None:
        return None
    return _row(labels, rates.known(catalogue.cost(scenario, baseline, rates.prices)), COST)


def qoe_row(scenario: Scenario) -> Row | None:
    """Return what the QoE exporter tells of a scenario, None for one whose quality is not known."""
    begun = time.perf_counter()
    metrics = catalogue.qoe(scenario)
    if not metrics:
        return None
    metrics[DURATION] = time.perf_counter() - begun
    return _row({"scenario": catalogue.label(scenario.name)}, metrics, QOE)


def results_row(
    scenario: Scenario, baseline: Scenario | None, predicted: catalogue.Predicted | None, run_id: str
) -> Row:
    """Return what the results exporter tells of a scenario."""
    metrics = catalogue.results(scenario, baseline, predicted)
    return _row(catalogue.results_labels(scenario, run_id), metrics, catalogue.RESULTS)


def families(about: Mapping[str, str], rows: Sequence[Row], currency: str = "") -> Iterator[bytes]:
    """Yield the text of each metric with all its samples; one without samples has its help alone."""
    for place, (name, told) in enumerate(about.items()):
        yield head(name, told.replace("{currency}", currency))
        yield "".join(
            f"{name}{labels} {value:.15g}\n" for labels, values in rows if (value := values[place]) is not None
        ).encode()


def single(name: str, about: str, value: int) -> bytes:
    """Return a metric of one sample without labels."""
    return head(name, about) + f"{name} {value}\n".encode()


def head(name: str, about: str) -> bytes:
    """Return the lines that say what a metric is."""
    return f"# HELP {name} {about}\n# TYPE {name} gauge\n".encode()


def distinct(rows: Iterable[Row]) -> list[Row]:
    """Return the first row of each set of labels: Prometheus refuses a scrape in which a series comes twice."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row[0], row)
    return list(found.values())


def _row(labels: Mapping[str, str], metrics: Mapping[str, float], names: Iterable[str]) -> Row:
    text = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{text}}}", tuple(map(metrics.get, names))


def _escaped(value: str) -> str:
    """Return a label's value as the format writes it; what UTF-8 cannot say is a question mark."""
    value = value.encode(errors="replace").decode()
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
