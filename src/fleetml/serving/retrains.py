"""Retrains that monitor asks for: ``retrains.jsonl`` in the serving folder, a line when one begins and one when it ends (ADR 10).

    {"time": "2026-03-01T12:17:00+00:00", "model": "bandwidth", "id": "bandwidth-20260301T121700", "state": "begun",
     "reason": "drift", "score": 0.7}
    {"time": …, "model": "bandwidth", "id": "bandwidth-20260301T121700", "state": "ended"}

Files, so that every engine means the same by "under way" and "of today". Standard library only.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

FILE = "retrains.jsonl"
BEGUN, ENDED = "begun", "ended"


@dataclass(frozen=True)
class Limits:
    """No retrain of a model while one is under way, which it is `longest` at most; within `cooldown` of the last one's
    beginning; or where `per_day` have begun in the last 24 hours.
    """

    cooldown: timedelta
    longest: timedelta
    per_day: int


def refusal(lines: Sequence[Mapping[str, Any]], model: str, limits: Limits, now: datetime) -> str:
    """Return why no retrain of `model` may begin at `now`, "" where one may."""
    own = [line for line in lines if line["model"] == model]
    begun = [(datetime.fromisoformat(line["time"]), line["id"]) for line in own if line["state"] == BEGUN]
    last, key = max(begun, default=(None, ""))
    if last and now - last < limits.longest and not any(line["id"] == key for line in own if line["state"] == ENDED):
        return f"the retrain {key} is under way; it counts as dead {limits.longest} after its beginning"
    if last and now - last < limits.cooldown:
        return f"the last retrain began at {last:%Y-%m-%d %H:%M} UTC, the next may from {last + limits.cooldown:%Y-%m-%d %H:%M} UTC on"
    today = sum(now - begin < timedelta(days=1) for begin, _ in begun)
    if today >= limits.per_day:
        return f"{today} retrains have begun in the last 24 hours, {limits.per_day} may"
    return ""


def begin(
    root: Path, model: str, about: Mapping[str, Any], limits: Limits, now: datetime | None = None
) -> tuple[str, str]:
    """Begin a retrain unless `refusal` forbids it; return (its id, "") or ("", why not). Raises OSError.

    `about` (reason, score, …) is kept in the line. Of two that ask at once, one begins.
    """
    now = now or datetime.now(UTC)
    with _alone(root) as file:
        if why := refusal(_lines(file), model, limits, now):
            return "", why
        key = f"{model}-{now:%Y%m%dT%H%M%S}"
        _append(file, {"time": now.isoformat(), "model": model, "id": key, "state": BEGUN, **about})
    return key, ""


def end(root: Path, model: str, key: str, now: datetime | None = None) -> None:
    """Note that the retrain `key` has ended, well or not. Raises OSError."""
    with _alone(root) as file:
        _append(file, {"time": (now or datetime.now(UTC)).isoformat(), "model": model, "id": key, "state": ENDED})


def read(root: Path) -> list[dict[str, Any]]:
    """Return the lines, oldest first; none where there is no file."""
    try:
        with (root / FILE).open(encoding="utf-8") as file:
            return _lines(file)
    except FileNotFoundError:
        return []


def _lines(file: TextIO) -> list[dict[str, Any]]:
    """A line that a crash cut off is none."""
    found = []
    for text in file:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and {"time", "model", "id", "state"} <= set(line):
            found.append(line)
    return found


def _append(file: TextIO, line: Mapping[str, Any]) -> None:
    file.seek(0, 2)
    if file.tell() and not _ends_whole(file):
        file.write("\n")
    file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _ends_whole(file: TextIO) -> bool:
    file.seek(0)
    return file.read().endswith("\n")


@contextmanager
def _alone(root: Path) -> Iterator[TextIO]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / FILE).open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file
