"""What is an alert on the embedded stack is one in Prometheus."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from fleetml.serving import alert_rules

HOUR = timedelta(hours=1)
PROMETHEUS = Path(__file__).parents[2] / "docker/prometheus"
BUDGETS = {
    rule["alert"]: rule
    for rule in yaml.safe_load((PROMETHEUS / "pipelines.rules.yml").read_text())["groups"][0]["rules"]
    if rule["alert"].startswith("Budget")
}


def test_prometheus_has_the_same_alerts_on_models() -> None:
    (group,) = yaml.safe_load((PROMETHEUS / "models.rules.yml").read_text())["groups"]
    units = {"h": HOUR, "m": HOUR / 60}
    rules = {rule["alert"]: rule for rule in group["rules"]}
    assert list(rules) == [rule.name for rule in alert_rules.RULES]
    for rule in alert_rules.RULES:
        theirs = rules[rule.name]
        lasting = theirs.get("for", "0h")
        assert (rule.severity, rule.lasting) == (theirs["labels"]["severity"], int(lasting[:-1]) * units[lasting[-1]])
    thresholds = [rules[rule.name]["expr"].rpartition(" ")[2] for rule in alert_rules.RULES]
    assert thresholds == ["0.3", "0", "0.8", "3600"]
    edge = {"score": 0.3, "features": {}, "missing": [], "accuracy": 0.8}
    beyond = {"score": 0.31, "features": {}, "missing": ["x"], "accuracy": 0.79}
    assert not any(rule.holds(edge, 3 * 3600) for rule in alert_rules.RULES)
    assert not any(rule.holds({**edge, "score": None, "accuracy": None}, 3 * 3600) for rule in alert_rules.RULES)
    assert all(rule.holds(beyond, 3 * 3600 + 1) for rule in alert_rules.RULES)


def test_prometheus_has_the_same_thresholds_on_budgets() -> None:
    assert re.findall(r"[<>]=? [\d.]+", BUDGETS["BudgetNearlySpent"]["expr"]) == [f">= {alert_rules.NEARLY}", "< 1"]
    assert re.findall(r"[<>]=? [\d.]+", BUDGETS["BudgetExceeded"]["expr"]) == [">= 1"]


@pytest.mark.parametrize(
    ("period", "used", "name"),
    [
        ("month", 0.79, ""),
        ("month", 0.8, "BudgetNearlySpent"),
        ("month", 1.2, "BudgetExceeded"),
        ("run", 0.99, ""),
        ("run", 1, "BudgetExceeded"),
    ],
)
def test_a_budget_is_told_as_prometheus_does(tmp_path: Path, period: str, used: float, name: str) -> None:
    labels = {"pipeline": "dear", "period": period, "quantity": "money"}
    series = ",".join(f'{label}="{value}"' for label, value in labels.items())
    figures = tmp_path / "runs.prom"
    figures.write_text(f"# TYPE fleetml_budget_spent_ratio gauge\nfleetml_budget_spent_ratio{{{series}}} {used}\n")
    found = list(alert_rules.holding(tmp_path, figures, 0.0))
    assert [each.name for each in found] == [name] * bool(name)
    for each in found:
        rule, annotations = BUDGETS[name], BUDGETS[name]["annotations"]
        assert (each.severity, each.lasting) == (rule["labels"]["severity"], timedelta(0))
        assert "for" not in rule
        assert f"max by ({', '.join(each.about)})" in rule["expr"]
        said = annotations["summary"].replace("{{ $value | humanizePercentage }}", f"{used * 100:g}%")
        for label, value in labels.items():
            said = said.replace(f"{{{{ $labels.{label} }}}}", value)
        assert each.summary == said
