"""Alerts of `alert_rules`, for a stack without Prometheus and Alertmanager: told to one webhook.

They are in the format of Alertmanager's webhook, so that what receives those receives these. What was told is in ``alerts.json`` of
the serving folder.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.serving import alert_rules, webhook

STATE = "alerts.json"
REPEAT = timedelta(hours=4)
"""How often an alert that goes on is told again."""

log = logging.getLogger(__name__)


@dataclass
class Alert:
    """One alert: since when it holds, and when it was told last; times are ISO 8601, "": never.

    `about` are the labels that tell it from others of its name; it is told once it held for `lasting` [s].
    """

    name: str
    about: dict[str, str]
    severity: str
    summary: str
    lasting: float
    since: str
    told: str = ""

    @property
    def key(self) -> str:
        return "/".join((self.name, *self.about.values()))

    def due(self, now: datetime) -> bool:
        """Say whether it is to be told, for the first time or again."""
        if self.told:
            return now - datetime.fromisoformat(self.told) >= REPEAT
        return now - datetime.fromisoformat(self.since) >= timedelta(seconds=self.lasting)

    def payload(self, ended: str = "") -> dict[str, Any]:
        """Return it as Alertmanager tells of it; `ended`: when it was over."""
        labels = {"alertname": self.name, **self.about, "severity": self.severity}
        return {
            "status": "resolved" if ended else "firing",
            "labels": labels,
            "annotations": {"summary": self.summary, "runbook": f"docs/runbooks/{self.name}.md"},
            "startsAt": self.since,
            "endsAt": ended or "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:16],
        }


def look(root: Path, figures: Path | None, now: datetime, send: Callable[[dict[str, Any]], bool]) -> None:
    """Tell `send` what holds for long enough, what goes on and was told `REPEAT` ago, and what is over; remember what it took.

    `root` is the serving folder, `figures` the file of all runs' figures. `send` says whether the message arrived; what did not is
    told again with the next look.
    """
    before = _read(root)
    holding = {alert.key: alert for alert in _holding(root, figures, now, before)}
    firing = [alert for alert in holding.values() if alert.due(now)]
    over = [alert for key, alert in before.items() if key not in holding and alert.told]
    if firing or over:
        ended = now.isoformat()
        arrived = send(message([*(a.payload() for a in firing), *(a.payload(ended) for a in over)]))
        if arrived:
            for alert in firing:
                alert.told = ended
        else:
            holding |= {alert.key: alert for alert in over}
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


def follow(root: Path, figures: Path | None, url: str, wait: Callable[[float], bool], seconds: float = 60.0) -> None:
    """Look every `seconds` until `wait`, which pauses, says that it is over."""
    while True:
        try:
            look(root, figures, datetime.now(UTC), lambda told: webhook.post(url, told, wait))
        except Exception:  # a damaged file, a full disk: the next look may see better
            log.exception("alerts cannot be judged now")
        if wait(seconds):
            return


def _holding(root: Path, figures: Path | None, now: datetime, before: Mapping[str, Alert]) -> Iterator[Alert]:
    for found in alert_rules.holding(root, figures, now.timestamp()):
        about, lasting = dict(found.about), found.lasting.total_seconds()
        alert = Alert(found.name, about, found.severity, found.summary, lasting, now.isoformat())
        known = before.get(alert.key)
        yield replace(alert, since=known.since, told=known.told) if known else alert


def _read(root: Path) -> dict[str, Alert]:
    try:
        known = json.loads((root / STATE).read_text(encoding="utf-8"))
        return {key: Alert(**entry) for key, entry in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
