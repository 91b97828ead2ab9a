"""Alert rules: what Prometheus' own checker says of them, and that each has its runbook."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docker.promtool import PROMTOOL

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "docker/prometheus").glob("*.rules.yml"))
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: apt-get install prometheus)")


def promtool(*words: str) -> None:
    checked = subprocess.run([str(PROMTOOL), *words], capture_output=True, text=True, cwd=ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.name)
def test_prometheus_takes_the_rules(rules: Path) -> None:
    promtool("check", "rules", str(rules))


@needs_promtool
@pytest.mark.parametrize("tests", sorted((ROOT / "docker/prometheus").glob("*.test.yml")), ids=lambda path: path.name)
def test_alerts_fire_when_they_should_and_only_then(tests: Path) -> None:
    promtool("test", "rules", str(tests))


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.name)
def test_every_alert_has_its_runbook(rules: Path) -> None:
    alerts = [
        rule for group in yaml.safe_load(rules.read_text())["groups"] for rule in group["rules"] if "alert" in rule
    ]
    assert alerts
    for rule in alerts:
        runbook = ROOT / rule["annotations"]["runbook"]
        assert runbook.read_text().startswith(f"# {rule['alert']}\n")
