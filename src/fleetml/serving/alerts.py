"""Alerts on what the monitor found, for a stack without Prometheus and Alertmanager: told to one webhook.

The same alerts as ``docker/prometheus/models.rules.yml`` (a test keeps them alike), in the format of Alertmanager's webhook, so that
what receives those receives these. What was told is in ``alerts.json`` of the serving folder.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.serving import webhook
from fleetml.serving.deployment import VERDICTS

STATE = "alerts.json"
REPEAT = timedelta(hours=4)
"""How often an alert that goes on is told again."""

Verdict = Mapping[str, Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rule:
    """An alert: whether a verdict is one, for how long before it is told, and what is said of it."""

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


@dataclass
class Alert:
    """One alert of one model: since when it holds, and when it was told last; times are ISO 8601, "": never."""

    name: str
    model: str
    severity: str
    summary: str
    since: str
    told: str = ""

    def payload(self, ended: str = "") -> dict[str, Any]:
        """Return it as Alertmanager tells of it; `ended`: when it was over."""
        labels = {"alertname": self.name, "model": self.model, "severity": self.severity}
        return {
            "status": "resolved" if ended else "firing",
            "labels": labels,
            "annotations": {"summary": self.summary, "runbook": f"docs/runbooks/{self.name}.md"},
            "startsAt": self.since,
            "endsAt": ended or "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:16],
        }


def look(root: Path, now: datetime, send: Callable[[dict[str, Any]], bool]) -> None:
    """Tell `send` what holds for long enough, what goes on and was told `REPEAT` ago, and what is over; remember what it took.

    `send` says whether the message arrived; what did not is told again with the next look.
    """
    before = _read(root)
    holding = {alert.name + "/" + alert.model: alert for alert in _holding(root, now, before)}
    firing = [alert for alert in holding.values() if _due(alert, now)]
    over = [alert for key, alert in before.items() if key not in holding and alert.told]
    if firing or over:
        ended = now.isoformat()
        arrived = send(message([*(a.payload() for a in firing), *(a.payload(ended) for a in over)]))
        if arrived:
            for alert in firing:
                alert.told = ended
        else:
            holding |= {alert.name + "/" + alert.model: alert for alert in over}
    if before or holding:
        atomic.write_json(root / STATE, {key: asdict(alert) for key, alert in holding.items()})


def message(alerts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document that Alertmanager posts to a webhook (version 4) of these alerts."""

    def common(part: str) -> dict[str, str]:
        first, *others = [alert[part] for alert in alerts]
        return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}

    return {
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved",
        "receiver": "fleetml",
        "groupLabels": {},
        "commonLabels": common("labels"),
        "commonAnnotations": common("annotations"),
        "externalURL": "",
        "alerts": alerts,
    }


def follow(root: Path, url: str, wait: Callable[[float], bool], seconds: float = 60.0) -> None:
    """Look every `seconds` until `wait`, which pauses, says that it is over."""
    while True:
        try:
            look(root, datetime.now(UTC), lambda told: webhook.post(url, told, wait))
        except Exception:  # a damaged file, a full disk: the next look may see better
            log.exception("alerts cannot be judged now")
        if wait(seconds):
            return


def _holding(root: Path, now: datetime, before: Mapping[str, Alert]) -> Iterator[Alert]:
    for path in sorted((root / VERDICTS).glob("*.json")):
        found, model = json.loads(path.read_text(encoding="utf-8")), path.stem
        age = now.timestamp() - found["time"]
        for rule in RULES:
            if rule.holds(found, age):
                known = before.get(f"{rule.name}/{model}")
                since, told = (known.since, known.told) if known else (now.isoformat(), "")
                yield Alert(rule.name, model, rule.severity, rule.summary(model, found, age), since, told)


def _due(alert: Alert, now: datetime) -> bool:
    if alert.told:
        return now - datetime.fromisoformat(alert.told) >= REPEAT
    (rule,) = [rule for rule in RULES if rule.name == alert.name]
    return now - datetime.fromisoformat(alert.since) >= rule.lasting


def _read(root: Path) -> dict[str, Alert]:
    try:
        known = json.loads((root / STATE).read_text(encoding="utf-8"))
        return {key: Alert(**entry) for key, entry in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
