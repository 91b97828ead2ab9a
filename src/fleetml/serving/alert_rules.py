"""What is an alert: of what the monitor found, and of what runs of pipelines used of their budgets.

The same as ``docker/prometheus/models.rules.yml``, and as the alerts on budgets of ``pipelines.rules.yml`` (a test keeps them alike).
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from fleetml.serving.deployment import VERDICTS

Verdict = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """An alert that holds; `about` are the labels that tell it from others of its name. It is told once it held for `lasting`."""

    name: str
    severity: str
    lasting: timedelta
    about: Mapping[str, str]
    summary: str


@dataclass(frozen=True)
class Rule:
    """An alert on a model: whether a verdict is one, for how long before it is told, and what is said of it."""

    name: str
    severity: str
    lasting: timedelta
    holds: Callable[[Verdict, float], bool]
    summary: Callable[[str, Verdict, float], str]


RULES = (
    Rule(
        "ModelDataDrift",
        "warning",
        timedelta(hours=2),
        lambda found, age: found["score"] is not None and found["score"] > 0.3,
        lambda model, found, age: (
            f"The traffic of {model} is not that of its training (score {found['score']:.2f}): "
            f"{', '.join([*found['features'], *found['missing']])}"
        ),
    ),
    Rule(
        "ModelFeatureMissing",
        "warning",
        timedelta(minutes=30),
        lambda found, age: len(found["missing"]) > 0,
        lambda model, found, age: (
            f"Features that {model} was trained with are missing in its traffic: {', '.join(found['missing'])}"
        ),
    ),
    Rule(
        "ModelAccuracyLow",
        "critical",
        timedelta(hours=2),
        lambda found, age: found["accuracy"] is not None and found["accuracy"] < 0.8,
        lambda model, found, age: f"The accuracy of {model} over 7 days is {found['accuracy']:.1%}",
    ),
    Rule(
        "ModelNotMonitored",
        "warning",
        timedelta(0),
        lambda found, age: age > 3 * 3600,
        lambda model, found, age: f"Nobody has looked at {model} for {age / 3600:.1f} h",
    ),
)

NEARLY = 0.8
"""Part of a month's budget from which on it is nearly spent."""


def holding(root: Path, figures: Path | None, now: float) -> Iterator[Found]:
    """Yield what holds at `now` [s since the epoch]: in the serving folder `root`, and in the runs' `figures` (``runs.prom``).

    Raises OSError, ValueError, LookupError for what cannot be read.
    """
    for path in sorted((root / VERDICTS).glob("*.json")):
        found, model = json.loads(path.read_text(encoding="utf-8")), path.stem
        age = now - found["time"]
        for rule in RULES:
            if rule.holds(found, age):
                about = {"model": model}
                yield Found(rule.name, rule.severity, rule.lasting, about, rule.summary(model, found, age))
    if figures is not None and figures.exists():  # there is none before the first run
        yield from _budgets(figures.read_text(encoding="utf-8"))


def _budgets(figures: str) -> Iterator[Found]:
    from prometheus_client.parser import text_string_to_metric_families

    for family in text_string_to_metric_families(figures):
        for sample in family.samples if family.name == "fleetml_budget_spent_ratio" else ():
            period, used = sample.labels["period"], f"{sample.value * 100:.4g}%"
            said = f"{sample.labels['pipeline']} has used {used} of its {sample.labels['quantity']} of"
            if sample.value >= 1:
                yield Found("BudgetExceeded", "critical", timedelta(0), sample.labels, f"{said} a {period}")
            elif period == "month" and sample.value >= NEARLY:
                about = {name: value for name, value in sample.labels.items() if name != "period"}
                yield Found("BudgetNearlySpent", "warning", timedelta(0), about, f"{said} the month")
