"""The controller: looks at every rollout under way, decides, acts. Its state is files, so killed it goes on.

The progress is written before the decision is acted upon: a look that counted is never counted again.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from fleetml.errors import FleetMLError
from fleetml.serving import deployment
from fleetml.serving.deployment import Deployed, Rollout
from fleetml.serving.rollout import actions, evidence, metrics, progress
from fleetml.serving.rollout.actions import Place
from fleetml.serving.rollout.decision import (
    Decision,
    Evidence,
    Hypothesis,
    Policy,
    Progress,
    decide,
    paired,
    total_errors,
)

log = logging.getLogger(__name__)


def look(place: Place, policy: Policy) -> None:
    """Look at each rollout once. One that cannot be judged is said in the log, and hinders no other."""
    for done in actions.mend(place):
        log.info("%s", done.line)
    metrics.forget()
    for name, served in deployment.read(place.root).items():
        if served.rollout:
            try:
                _look(place, name, served, served.rollout, policy)
            except FleetMLError as error:
                log.error("rollout %s of %s: %s", served.rollout.id, name, error)
            except Exception:  # a damaged log file, a full disk: the next look may see better
                log.exception("rollout %s of %s cannot be judged now", served.rollout.id, name)
    metrics.LOOKED.set_to_current_time()


def _look(place: Place, name: str, served: Deployed, rollout: Rollout, policy: Policy) -> None:
    now = datetime.now(UTC)
    state = progress.of(place.root, name, rollout, now)
    seen = evidence.gather(place.root, name, served, rollout, datetime.fromisoformat(state.step_began), now)
    tests = Progress(**{side: Hypothesis(**known) for side, known in state.tests.items()})
    decided = decide(seen, tests, policy)
    found = {"time": now.isoformat(timespec="seconds"), "action": decided.action, "reason": decided.reason}
    told = summary(seen, decided, policy)
    state = replace(state, tests=asdict(decided.progress), found={**found, **told})
    progress.write(place.root, name, state)
    metrics.tell(name, rollout, told)
    metrics.DECISIONS.labels(name, decided.action).inc()
    if decided.action != "wait":
        _act(place, name, rollout, decided, told)
        log.info("rollout %s of %s: %s: %s", rollout.id, name, decided.action, decided.reason)


def _act(place: Place, name: str, rollout: Rollout, decided: Decision, told: Mapping[str, Any]) -> None:
    """Do what was decided. Raises InvalidParameter where a person was faster."""
    if decided.action == "advance":
        actions.advance(place, name, rollout, decided.share, decided.reason, told)
    elif decided.action == "promote":
        actions.promote(place, name, rollout.version, decided.reason, told, rollout.id)
    else:
        actions.roll_back(place, name, decided.reason, told, rollout.id)


def summary(seen: Evidence, decided: Decision, policy: Policy) -> dict[str, Any]:
    """Return the evidence as JSON for the audit trail: errors in the model's unit, p99 in ms; null: unknown."""
    served, second = total_errors(seen)
    tests = decided.progress
    return {
        "share": seen.share,
        "vms": len(paired(seen)),
        "rows": seen.rows,
        "error": {"served": served, "second": second, "change": _number(second / served - 1) if served else None},
        "answers": {"served": seen.served.answers, "second": seen.second.answers},
        "failures": {"served": seen.served.failures, "second": seen.second.failures},
        "p99_ms": {"served": _number(seen.served.p99_ms), "second": _number(seen.second.p99_ms)},
        "p": {"better": tests.better.p, "worse": tests.worse.p, "alpha": policy.alpha},
        "looks": {"better": tests.better.looks, "worse": tests.worse.looks},
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
