"""The samples that results files lack, asked of Prometheus."""

from __future__ import annotations

from collections.abc import Sequence

from fleetml.cost.exporters.overlaps import Span, mixed
from fleetml.cost.exporters.prometheus import Prometheus
from fleetml.cost.scenarios import Results, Scenario
from fleetml.errors import Unavailable
from fleetml.frozen import replace


def complete(found: Sequence[Results], prometheus: Prometheus, told: list[str]) -> list[Results]:
    """Return the results with the samples that Prometheus knows; why it does not is added to `told`.

    Of scenarios of two files at the same time nothing is asked: it would tell the power of both. One that does not answer is asked once.
    """
    asked = _Asked(prometheus, mixed(span for each in found for span in _spans(each)), told)
    return [
        replace(each, scenarios=tuple(asked.of(scenario, each.run_id) for scenario in each.scenarios)) for each in found
    ]


class _Asked:
    """A Prometheus until it does not answer."""

    def __init__(self, prometheus: Prometheus, together: frozenset[Span], told: list[str]) -> None:
        self.prometheus, self.together, self.told = prometheus, together, told
        self.silent = False

    def of(self, scenario: Scenario, file: str) -> Scenario:
        if self.silent or not self.prometheus.lacks(scenario):
            return scenario
        if _span(scenario, file) in self.together:
            self.told.append(
                f"{scenario.name!r} of {file} was measured at the same time as a scenario of another file; nothing is asked of Prometheus, "
                "as it would tell the power of both; measure them apart"
            )
            return scenario
        try:
            return self.prometheus.complete(scenario, self.told)
        except Unavailable as error:
            self.told.append(str(error))
            self.silent = self.prometheus.is_over(scenario)  # one that is not over is no fault of Prometheus
            return scenario


def _spans(results: Results) -> list[Span]:
    return [_span(each, results.run_id) for each in results.scenarios if each.start_time is not None]


def _span(scenario: Scenario, file: str) -> Span:
    return scenario.start_time or 0.0, scenario.end_time or 0.0, scenario.name, file
