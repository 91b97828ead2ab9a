"""AutoML of tables: within trials and seconds, from columns to ONE proven graph of an ensemble, inside its limits."""

import json
import logging
import math
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from components.automl import assembly, choice, page, portfolio
from components.automl.assembly import Found
from components.automl.finish import Limits
from components.automl.given import FEW_ROWS, Problem, problem
from components.automl.importance import MOST_WALKED, permutation, shapley
from components.automl.trials import objective
from fleetml.component import Artifact
from fleetml.data.schema import aside
from fleetml.errors import InvalidParameter
from fleetml.learn.search import check_budget
from fleetml.learn.study import loop
from fleetml.learn.study.loop import StudyResult
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.space import in_family, of_ranges
from fleetml.learn.study.trial import Outcome
from fleetml.learn.tables import table
from fleetml.learn.tables.model import TabularModel
from fleetml.learn.tables.table import TRAIN, VALIDATION

log = logging.getLogger(__name__)
# Shares of the seconds after which trials, the choice among them, the making of members, their assembly and the explanations end
TRIED, CHOSEN, MADE, ASSEMBLED, EXPLAINED = 0.68, 0.75, 0.87, 0.91, 0.94
TRIAL_SHARE = 0.5  # of the seconds for trials, the most that one takes
LEAST_SECONDS = 1.0


def automl_tabular(
    dataset: Artifact,
    model: Artifact,
    leaderboard: Artifact,
    report: Artifact,
    metrics: Artifact,
    trials: int = 200,
    timeout_seconds: float = 60,
    workers: int = 2,
    memory_mb: int = 4096,
    metric: str = "",
    group: str = "",
    time_column: str = "",
    latency_limit_ms: float = 10.0,
    size_limit_mb: float = 20.0,
    seed: int = 0,
    memory_limit_mb: float = 0.0,
) -> None:
    """Search the model of a dataset's training and validation rows; write the graph, every trial, and a page with the card.

    `memory_limit_mb`: the most memory of the graph, loaded and asked one row, 0: any; `memory_mb`: of one trial.
    A budget or limits that no trial keeps give the best constant, limits that no graph keeps the quickest model; all say so.
    Raises InvalidParameter, InvalidData.
    """
    began = time.monotonic()
    check_budget(trials, timeout_seconds, latency_limit_ms, size_limit_mb)
    if not 0 <= memory_limit_mb < math.inf:
        raise InvalidParameter(
            f"parameter 'memory_limit_mb' of AutoML must be a number from 0 (any memory), got {memory_limit_mb}; correct it"
        )
    load()
    names = (metric, group, time_column)
    given = problem(table.read(dataset.path), *names, timeout_seconds, size_limit_mb, seed, memory_mb)
    made, chosen, end = (began + share * timeout_seconds for share in (MADE, CHOSEN, ASSEMBLED))
    before = _used_mb()
    held = memory_limit_mb or math.inf
    limits = Limits(latency_limit_ms, size_limit_mb, made, workers, memory_mb, chosen, end, held)
    tried_by = began + TRIED * timeout_seconds
    before_trials = time.monotonic() - began
    study = search(given, trials, tried_by, limits)
    limits = limits.later(time.monotonic() - tried_by)
    order = [
        each.number for each in sorted(study.outcomes, key=lambda each: each.values or (float("inf"),)) if each.values
    ]
    tried, few = choice.candidates(given, study.kept, order, memory_mb)
    if tried:
        found = assembly.weighed(assembly.assemble(given, tried, limits), limits)
    else:
        why = assembly.unfinished(study.outcomes, timeout_seconds, before_trials)
        found = assembly.weighed(assembly.constant(given, why, limits), limits)
    del tried
    used = _used_mb() - before
    over = (
        f"choosing and assembling took {used:.0f} MB beyond the data, memory_mb={memory_mb}"
        if 0 < memory_mb < used
        else ""
    )
    given = replace(given, notes=(*given.notes, *filter(None, (few, over))))
    for note in (*given.notes, *filter(None, (found.reason,))):
        log.warning("%s", note)
    rows = board(given, study.outcomes, found, began)
    with aside(leaderboard.path) as temporary:
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(temporary, compression="zstd")
    card = describe(given, study, found, limits, began)
    if len(study.outcomes) < trials:  # the study knows its own seconds, not those that were given
        card["stopped"] = (
            f"the trials' {TRIED:.0%} of the budget of {timeout_seconds:g} s are spent, {before_trials:.1f} s of them before the first"
        )
    end = began + EXPLAINED * timeout_seconds
    explained = _explained(given, found, end)
    _publish(found, card, model)
    with aside(report.path) as temporary:
        temporary.write_text(page.render(card, rows, curve(given, study.outcomes, began), explained))
    shown = (card["metric"], "budget_met", "trials", "members", "p50_ms", "p99_ms", "size_bytes", "reason")
    metrics.log(**{given.metric: card["score"]}, **{name: card[name] for name in shown[1:]}, seconds=card["seconds"])


def _used_mb() -> float:
    """Return the most memory that this process held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load() -> None:
    """Import what trials need before they are forked."""
    import importlib

    for name in (
        "lightgbm",
        "xgboost",
        "sklearn.ensemble",
        "sklearn.neural_network",
        "sklearn.linear_model",
        "onnxmltools",
        "skl2onnx",
        "torch",
        "fleetml.learn.table_net",
    ):
        importlib.import_module(name)


def search(given: Problem, trials: int, end: float, limits: Limits) -> StudyResult:
    """Return the study of the families' spaces until `end` [monotonic s], the portfolio first; the pruning is `race`'s."""
    families = {
        name: space
        for name, space in portfolio.spaces(given.about.objective).items()
        if len(given.frame) >= FEW_ROWS or name in portfolio.SIMPLE
    }
    seconds = max(LEAST_SECONDS, end - time.monotonic())
    settings = StudySettings(
        trials=trials,
        seconds=seconds,
        sampler="auto",
        pruner="none",
        workers=limits.workers,
        seed=given.seed,
        trial_seconds=max(LEAST_SECONDS, TRIAL_SHARE * seconds),
        memory_mb=limits.memory_mb,
    )
    return loop.run(objective(given), of_ranges(families), settings, portfolio.starts(families, given.about.objective))


def board(given: Problem, outcomes: Sequence[Outcome], found: Found, began: float) -> list[dict[str, Any]]:
    """Return the leaderboard, best first: the ensemble, the constant, every trial; `ended`: seconds since `began`."""
    rows = [_row(given, "constant", "baseline", given.constant())]
    for each in outcomes:
        family, point = in_family(each.params)
        rows.append(
            {
                **_row(given, f"{family}-{each.number}", each.state, each.value if each.values else None),
                "family": family,
                "hyperparameters": json.dumps(point, sort_keys=True),
                "seconds": each.seconds,
                "ended": round(each.notes["ended"] - began, 2) if each.values else None,
                "weight": round(found.weights.get(each.number, 0.0), 4),
                "finished_as": found.ways.get(each.number, ""),
                "reason": each.reason or found.dropped.get(each.number, ""),
            }
        )
    rows.sort(key=lambda row: (row["loss"] is None, row["loss"]))
    best = _row(given, "the model", found.chosen.how, found.chosen.loss)
    return [{**best, "family": found.python.about.algorithm, "weight": 1.0, "reason": found.reason}, *rows]


def _row(given: Problem, name: str, state: str, loss: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "family": name,
        "state": state,
        given.metric: None if loss is None else given.figure(loss),
        "loss": loss,
        "hyperparameters": "",
        "seconds": 0.0,
        "ended": None,
        "weight": 0.0,
        "finished_as": "",
        "reason": "",
    }


def curve(given: Problem, outcomes: Sequence[Outcome], began: float) -> list[tuple[float, float]]:
    """Return the learning curve: seconds, and the metric of the best trial by then."""
    done = sorted((each.notes["ended"] - began, each.value) for each in outcomes if each.values)
    best, points = float("inf"), []
    for second, loss in done:
        if loss < best:
            best = loss
            points.append((round(second, 2), given.figure(loss)))
    return points


def describe(given: Problem, study: StudyResult, found: Found, limits: Limits, began: float) -> dict[str, Any]:
    """Return the model card as JSON."""
    about = found.python.about
    return {
        "target": about.target,
        "objective": about.objective,
        "algorithm": about.algorithm,
        "metric": given.metric,
        "score": round(given.figure(found.chosen.loss), 6),
        "constant": round(given.figure(given.constant()), 6),
        "combination": found.chosen.how,
        "members": len(found.python.members),
        "families": sorted({one.algorithm for one in found.python.members}),
        **_calibration(given, found),
        "validation": given.validation.kind,
        "rows": len(given.frame),
        "features": len(given.recipe.features),
        "notes": list(given.notes),
        "trials": len(study.outcomes),
        "stopped": study.reason_to_stop,
        "p50_ms": round(found.p50_ms, 4),
        "p99_ms": round(found.p99_ms, 4),
        "size_bytes": len(found.graph),
        "latency_limit_ms": limits.latency_ms,
        "median_limit_ms": limits.median_ms,
        "size_limit_mb": limits.size_mb,
        **_memory(found, limits),
        "budget_met": found.met,
        "reason": found.reason,
        "proven_on_rows": found.proof.rows,
        "proof_mean_difference": found.proof.mean,
        "seed": given.seed,
        "curve": curve(given, study.outcomes, began),
        "seconds": round(time.monotonic() - began, 2),
    }


def _calibration(given: Problem, found: Found) -> dict[str, float]:
    """Return what the card tells of probabilities; a regression has none."""
    if not given.classifies:
        return {}
    return {"temperature": round(found.chosen.temperature, 4), "calibration_error": round(found.chosen.error, 4)}


def _memory(found: Found, limits: Limits) -> dict[str, float | None]:
    """Return what the card tells of the graph's memory: it is measured where it is limited, and not else."""
    if math.isinf(limits.footprint_mb):
        return {}
    taken = round(found.memory_mb, 2) if math.isfinite(found.memory_mb) else None
    return {"graph_memory_mb": taken, "memory_limit_mb": limits.footprint_mb}


def _explained(given: Problem, found: Found, end: float) -> dict[str, dict[str, float]]:
    """Return importances by column: what dealing its values out anew costs, and the mean absolute Shapley value."""
    model = TabularModel(found.graph)
    now = time.monotonic()
    dealt = permutation(model, given.frame, given.target, given.loss, given.seed, now + (end - now) / 2)
    explained = {"permutation": dict(dealt)}
    if len(model.about.features) <= MOST_WALKED:
        explained["shapley"] = dict(shapley(model, given.frame, given.seed, end))
    return explained


def _publish(found: Found, card: dict[str, Any], artifact: Artifact) -> None:
    with aside(artifact.path) as temporary:
        temporary.write_bytes(found.graph)
    about = found.python.about
    artifact.metadata.update(
        kind="tabular",
        metric=card["metric"],
        learnt_from=[TRAIN, VALIDATION],
        algorithm=about.algorithm,
        objective=about.objective,
        target=about.target,
        hyperparameters=about.hyperparameters,
        validation={card["metric"]: card["score"]},
        size_bytes=len(found.graph),
        budget_met=found.met,
        card={name: value for name, value in card.items() if name != "curve"},
    )
