"""Who won, read from the records of a run: scores of `evaluate`, decision of `gate`, version of `register`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetml.records import Attempt

BASELINES = ("last_value", "seasonal_naive")
CHAMPION = "champion"


@dataclass(frozen=True)
class Candidate:
    """One judged graph. Errors are means over the held-out windows: `mase` relative, `mae` in the target's unit;
    latency is that of one forecast on one thread. None: not measured.
    """

    name: str
    family: str
    mase: float | None
    mae: float | None
    mase_of_vm: Mapping[str, float] = field(default_factory=dict)
    size_bytes: int | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What a run decided. `champion` is what serves now, None when nothing does; `version` its registered version."""

    target: str
    windows: int
    vms: int
    candidates: tuple[Candidate, ...]
    winner: str
    promoted: bool
    reason: str
    version: str

    @property
    def champion(self) -> Candidate | None:
        return self.get(self.winner if self.promoted else CHAMPION)

    def get(self, name: str) -> Candidate | None:
        return next((candidate for candidate in self.candidates if candidate.name == name), None)

    def better(self, champion: Candidate) -> list[Candidate]:
        """Return the new candidates with a smaller error than the champion, the best first: the gate let none of them pass."""
        return [
            candidate
            for candidate in self.candidates
            if candidate.name != CHAMPION and candidate.mase is not None and candidate.mase < (champion.mase or 0.0)
        ]

    def gain(self, baseline: str) -> float | None:
        """Share of the baseline's MASE that the champion saves, None when one of them has none."""
        champion, other = self.champion, self.get(baseline)
        if champion is None or other is None or champion.mase is None or not other.mase:
            return None
        return 1 - champion.mase / other.mase


def read(attempts: Mapping[str, Attempt]) -> Verdict | None:
    """Return the verdict, None for a run that judged nothing (or did not get so far)."""
    place = artifact(attempts, "evaluate", "scores")
    if place is None:
        return None
    try:
        scores = json.loads(Path(place["uri"]).read_text())
    except (OSError, ValueError):
        return None
    decision = parameters(attempts, "gate")
    version = parameters(attempts, "register").get("version") or scores.get("champion_version", "")
    return Verdict(
        target=str(scores.get("target", "")),
        windows=int(scores.get("windows", 0)),
        vms=_count(scores.get("vms", 0)),
        candidates=tuple(sorted((_candidate(*c) for c in scores["candidates"].items()), key=_by_mase)),
        winner=str(decision.get("winner", "")),
        promoted=bool(decision.get("promote", False)) and succeeded(attempts, "register"),
        reason=str(decision.get("reason", "")),
        version=str(version),
    )


def find(attempts: Mapping[str, Attempt], task: str) -> Attempt | None:
    """Return the attempt of a task by its own name, in whatever condition or group it stands."""
    return next((attempt for step, attempt in attempts.items() if step.rsplit("/", 1)[-1] == task), None)


def succeeded(attempts: Mapping[str, Attempt], task: str) -> bool:
    found = find(attempts, task)
    return found is not None and found.state == "succeeded"


def parameters(attempts: Mapping[str, Attempt], task: str) -> Mapping[str, Any]:
    """Return the output parameters of a task, {} when it did not finish."""
    found = find(attempts, task)
    return (found.outcome or {}).get("parameters", {}) if found else {}


def artifact(attempts: Mapping[str, Attempt], task: str, output: str) -> Mapping[str, Any] | None:
    """Return an output artifact of a task (name, type, uri, digest, metadata), None when there is none."""
    found = find(attempts, task)
    made = (found.outcome or {}).get("artifacts", {}).get(output) if found else None
    return made[0] if made else None


def _candidate(name: str, entry: Mapping[str, Any]) -> Candidate:
    per_vm = {vm: errors["mase"] for vm, errors in entry.get("per_vm", {}).items() if errors.get("mase") is not None}
    return Candidate(
        name=name,
        family=str(entry.get("family", "")),
        mase=entry.get("mase"),
        mae=entry.get("mae"),
        mase_of_vm=per_vm,
        size_bytes=entry.get("size_bytes"),
        p50_ms=entry.get("latency_ms_p50"),
        p99_ms=entry.get("latency_ms_p99"),
    )


def _by_mase(candidate: Candidate) -> float:
    return float("inf") if candidate.mase is None else candidate.mase


def _count(vms: Any) -> int:
    return vms if isinstance(vms, int) else len(vms)
