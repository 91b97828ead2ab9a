"""The audit trail: who changed what is served, when, why and on what evidence. One JSON line each, only ever appended.

``audit.jsonl`` in the serving folder: time (UTC), who, model, action, from, to, reason, evidence.
The server's settings are of no model: model "", `from` and `to` what changed ("workers 1").
"""

import fcntl
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "audit.jsonl"


def line(
    who: str, model: str, action: str, before: str, after: str, reason: str, evidence: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a line of now; `before` and `after` are versions, with a share where there are two ("7 + 5% 8"), or settings."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "who": who,
        "model": model,
        "action": action,
        "from": before,
        "to": after,
        "reason": reason,
        "evidence": dict(evidence or {}),
    }


def write(root: Path, line: Mapping[str, Any]) -> None:
    """Append a line, unless it is there already: who was interrupted may write again. Raises OSError."""
    text = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
    root.mkdir(parents=True, exist_ok=True)
    with (root / FILE).open("a+", encoding="utf-8") as trail:
        fcntl.flock(trail, fcntl.LOCK_EX)
        trail.seek(0)
        known = trail.readlines()
        if text in known:
            return
        if known and not known[-1].endswith("\n"):  # what a killed writer left
            trail.write("\n")
        trail.write(text)


def read(root: Path, model: str = "") -> list[dict[str, Any]]:
    """Return the lines, of one model or of all, oldest first; what is no line (a killed writer's) is left out."""
    try:
        lines = (root / FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = [entry for text in lines if (entry := _parsed(text))]
    return [entry for entry in found if not model or entry.get("model") == model]


def _parsed(text: str) -> dict[str, Any]:
    try:
        entry = json.loads(text)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
