"""What each run adds to the figures of all runs: duration, waiting, failures, reuse, cost. Every engine begins and ends runs here.

They are in ``<home>/metrics/runs.prom``, which the model server's /metrics appends. What cannot be told hinders no run.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleetml.cost.budget import Budget
from fleetml.cost.estimate import Cost, read
from fleetml.engines.totals import Totals, changing
from fleetml.errors import FleetMLError
from fleetml.records import Attempt, Run
from fleetml.records.spent import spent

METRICS = "metrics"
"""Folder of the home."""


def run_began(run: Run) -> None:
    """Tell that a run is under way, and for how long it was due."""
    with _hindering_nothing(run), changing(_home(run) / METRICS) as totals:
        document = run.read()
        _forget_dead(totals, _home(run), run.run_id)
        totals.running[run.run_id] = _of(document)
        if due := document.get("due"):
            totals.observe("fleetml_run_delay_seconds", _of(document), max(0.0, document["started"] - due))


def run_ended(run: Run, attempts: Mapping[str, list[Attempt]]) -> None:
    """Tell how a run ended, and what its attempts since the last telling took; `attempts` by step."""
    with _hindering_nothing(run), changing(_home(run) / METRICS) as totals:
        document = run.read()
        _ended(totals, run, document, attempts, document["state"])
        _forget_dead(totals, _home(run), run.run_id)


def _ended(
    totals: Totals, run: Run, document: Mapping[str, Any], known: Mapping[str, list[Attempt]], state: str
) -> None:
    now = time.time()
    about = totals.running.pop(run.run_id, None) or _of(document)
    ended = document.get("finished") or now
    totals.count("fleetml_runs_total", {**about, "state": state})
    totals.ended({**about, "state": state}, ended)
    if state != "died":
        totals.observe("fleetml_run_duration_seconds", about, max(0.0, ended - _begun(document)))
    _budget(totals, run, document)
    told = document.get("told") or 0.0
    fresh = [a for attempts in known.values() for a in attempts if a.finished > told and a.state != "running"]
    for attempt in fresh:
        _attempt(totals, {**about, "step": _name(attempt.step)}, attempt)
    for wait in _waits(run, _begun(document), known, fresh):
        totals.observe("fleetml_step_queue_seconds", about, wait)
    run.update(told=max((attempt.finished for attempt in fresh), default=told))


def _attempt(totals: Totals, about: Mapping[str, str], attempt: Attempt) -> None:
    totals.count("fleetml_step_attempts_total", {**about, "state": "cached" if attempt.cached else attempt.state})
    if attempt.state in ("succeeded", "failed") and not attempt.cached:
        totals.observe("fleetml_step_duration_seconds", about, attempt.seconds)
    _cost(totals, about, read(attempt.cost))


def _cost(totals: Totals, about: Mapping[str, str], cost: Cost) -> None:
    """Add what an attempt cost; a rebate (a negative price) is none here, as a counter must not fall."""
    there = {**about, "region": cost.region}
    amounts = {
        "fleetml_step_cpu_seconds_total": (about, cost.cpu_seconds),
        "fleetml_step_gpu_seconds_total": (about, cost.gpu_seconds),
        "fleetml_step_cost_usd_total": (there, cost.money if cost.currency == "USD" else None),
        "fleetml_step_cost_total": ({**there, "currency": cost.currency}, cost.money),
        "fleetml_step_energy_kwh_total": ({**there, "source": cost.source}, cost.kwh),
        "fleetml_step_co2_grams_total": (there, cost.co2_grams),
    }
    for name, (labels, amount) in amounts.items():
        if amount is not None and amount > 0:
            totals.count(name, labels, amount)


def _budget(totals: Totals, run: Run, document: Mapping[str, Any]) -> None:
    """Tell which part of its pipeline's budget is used; nothing of one that has none (any more), lest it alarms for ever."""
    budget = Budget.recorded(document.get("budget"))
    found = budget.spent(*spent(run, budget)) if budget else ()
    totals.spent(str(document["pipeline"]), {(period, quantity): share for period, quantity, share, _ in found})


def _waits(run: Run, begun: float, known: Mapping[str, list[Attempt]], fresh: Iterable[Attempt]) -> Iterator[float]:
    """Yield how long steps waited for somebody to run them [s]: a worker, a scheduler. Steps of loops are left out."""
    from fleetml.pipeline import load

    ran = [a for a in fresh if a.number == 1 and a.state in ("succeeded", "failed") and not a.cached]
    ran = [a for a in ran if a.step == _name(a.step)]
    if not ran:
        return  # a run of reused results, or of a loop's steps, is over sooner than its plan is read
    try:
        steps = load(run.pipeline, _home(run) / "ir", fold=True).steps
    except (FleetMLError, OSError):
        return
    for attempt in ran:
        if attempt.step in steps:
            ends = [a.finished for before in steps[attempt.step].upstream for a in known.get(before, [])[-1:]]
            yield max(0.0, attempt.started - max([begun, *ends]))


def _forget_dead(totals: Totals, home: Path, but: str) -> None:
    """Count runs whose process died as such."""
    for run_id in [known for known in totals.running if known != but]:
        run = Run(home, run_id)
        try:
            state = run.state()
        except (FleetMLError, OSError):
            del totals.running[run_id]
            continue
        if state == "died":
            document = run.read()
            _ended(totals, run, document, {step: run.attempts(step) for step in document["steps"]}, state)
        elif state != "running":
            del totals.running[run_id]


@contextmanager
def _hindering_nothing(run: Run) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a mistake in here is no reason for a run to fail
        import logging

        logging.getLogger("fleetml").warning("the figures of run %s cannot be told: %s", run.run_id, error)


def _of(document: Mapping[str, Any]) -> dict[str, str]:
    return {"pipeline": str(document["pipeline"]), "engine": str(document["engine"])}


def _begun(document: Mapping[str, Any]) -> float:
    """When this stretch of the run began: a resumed one keeps when it was first started."""
    return float(document.get("begun") or document["started"])


def _name(step: str) -> str:
    """Return a step's name without the numbers of iterations, so that a loop adds one row and not thousands."""
    return "/".join(part for part in step.split("/") if not part.isdigit()) or step


def _home(run: Run) -> Path:
    return run.folder.parents[1]
