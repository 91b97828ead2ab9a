"""The architecture search: networks under a budget of trials and seconds, inside limits of latency, parameters and operations."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from components.nas import beside
from components.nas.space import Searched, searched
from fleetml import frozen
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import leaderboard as boards
from fleetml.learn import search, windows
from fleetml.learn.leaderboard import Outcome, Result
from fleetml.learn.limits import Limits
from fleetml.learn.search import Candidate
from fleetml.learn.study import storage as studies
from fleetml.learn.study.limits import of_search
from fleetml.learn.study.settings import StudySettings

if TYPE_CHECKING:
    from fleetml.learn.neural_trainer import NeuralTrainer
    from fleetml.learn.study.loop import StudyResult
    from fleetml.learn.study.trial import Outcome as TrialOutcome

# What a second objective may be called -> the field of a price that it is
SECOND = {"": "", "latency": "latency_ms", "operations": "operations"}
ERROR = "validation MASE"
_UNITS = {"": "", "latency": "latency [ms]", "operations": "operations of one forecast"}


def nas(
    train: Artifact,
    val: Artifact,
    trials: int,
    timeout_seconds: float,
    latency_limit_ms: float,
    seed: int,
    model: Artifact,
    leaderboard: Artifact,
    metrics: Artifact,
    report: Artifact,
    sampler: str = "auto",
    second_objective: str = "",
    max_parameters: int = 0,
    max_operations: int = 0,
    counted: bool = False,
    workers: int = 1,
    storage: str = "",
    workspace: str = "",
    patience: int = 0,
    memory_mb: int = 4096,
) -> None:
    """Search a neural forecaster; write the best graph inside the limits, and the leaderboard with the front.

    A network whose untrained graph is over a limit is never trained: `latency_limit_ms` (median of one forecast on one thread),
    `max_parameters`, `max_operations` (FLOPs of one forecast); 0 of the latter two: none. `second_objective`, latency or operations,
    makes the search one for the front of error and that; the model is its end with the least error. `counted`: no clock decides, so
    the same seed and trials give the same result (with one worker); latency decides then nothing but whether the model is called a
    best effort, and `timeout_seconds` ends the study between trials. The untrained `mixture` is judged beside the trials where the windows are long enough for it. Where no
    network keeps the limits, the nearest to them is trained and published as a best effort. `sampler` is one of
    `fleetml.learn.study.settings.SAMPLERS`; `storage` an Optuna journal or postgresql:// that a study which was killed goes on from,
    "": a journal in `workspace`, the folder that the steps of a run share, if that is given. `patience`: trials without a better one
    (by their error) that end the study, 0: none. Trials are in processes of their own (`study.limits`): one that crashes, hangs, or takes
    more than `memory_mb` (0: no limit) is a line of the leaderboard, and the search goes on. `report` gets the study's page. Raises InvalidParameter for an empty budget or a
    contradiction, SearchFailed when nothing could be trained.
    """
    search.check_budget(trials, timeout_seconds, latency_limit_ms)
    kept_at = studies.place(storage, workspace)
    settings = _settings(
        trials, timeout_seconds, seed, sampler, second_objective, counted, workers, kept_at, patience, memory_mb
    )
    limits = _limits(latency_limit_ms, max_parameters, max_operations, counted)
    from components.nas.objective import Objective
    from fleetml.learn.neural_trainer import NeuralTrainer
    from fleetml.learn.study import report as page
    from fleetml.learn.study.loop import run

    # Evolution searches another space.
    searched_for = {**asdict(limits), "seed": seed, "second": second_objective, "evolution": sampler == "evolution"}
    settings = frozen.replace(settings, name=studies.study_name("nas", (train, val), **searched_for))
    trainer, space = NeuralTrainer(windows.load(train.path), windows.load(val.path), seed), searched(sampler)
    also = beside.mixture(trainer.val, limits, math.inf if counted else timeout_seconds / 2)
    if also:
        settings = frozen.replace(settings, seconds=max(1.0, timeout_seconds - also.seconds))
    turns = min(len(space.starts), trials)
    objective = Objective(trainer, space.point, limits, SECOND[second_objective], counted, turns, workers)
    found = run(objective, space.distributions, settings, space.starts)
    named = (ERROR, *filter(None, (_UNITS[second_objective],)))
    page.write(
        report.path, f"Search of architectures: {ERROR}", found, space.distributions, settings, named, space.meant
    )
    seconds = math.inf if counted else max(1.0, timeout_seconds / trials)
    best, met = _best(found, also, lambda told: _trained(told, space, trainer, time.monotonic() + seconds), limits)
    if counted and best:
        met = met and best.latency_ms <= latency_limit_ms
    result = Result(best, [_line(each, space) for each in found.outcomes], found.seconds)
    told = {each.number: _counts(each.notes) for each in found.outcomes}
    if also:
        result.outcomes.append(also.line(beside.after(found)))
        told[beside.after(found)] = _counts(asdict(also.price))
    on_front = beside.front(found, also, SECOND[second_objective])
    boards.publish(
        result,
        model,
        leaderboard,
        metrics,
        met,
        trainer.val,
        front=len(on_front),
        stopped=found.reason_to_stop,
    )
    _add(leaderboard, {number: {**counts, "front": number in on_front} for number, counts in told.items()})


def _best(
    found: "StudyResult", also: beside.Beside | None, train: Callable[["TrialOutcome"], Candidate], limits: Limits
) -> tuple[Candidate | None, bool]:
    """Return the best of the trials and of what stands beside them, and whether it is inside the limits; `train` makes what no trial kept."""
    best, met = _kept(found), True
    if best is None and found.nearest is not None:
        best = train(found.nearest)
        met = found.best is not None and not limits.reason(limits.price(best.graph))
    if also and also.better(best, met):
        return also.candidate, True
    return best, met


def _settings(
    trials: int,
    seconds: float,
    seed: int,
    sampler: str,
    second_objective: str,
    counted: bool,
    workers: int,
    storage: str,
    patience: int,
    memory_mb: int,
) -> StudySettings:
    if second_objective not in SECOND:
        raise InvalidParameter(
            f"second_objective must be latency, operations or empty, got {second_objective!r}; correct it"
        )
    if counted and second_objective == "latency":
        raise InvalidParameter(
            "a counted search measures no latency, got second_objective 'latency' with counted; use operations, or leave counted out"
        )
    objectives = 2 if second_objective else 1
    return StudySettings(
        trials=trials,
        seconds=seconds,
        sampler=sampler,
        pruner="none" if second_objective else "median",
        directions=("minimize",) * objectives,
        workers=workers,
        seed=seed,
        patience=patience,
        storage=storage,
        **of_search(trials, seconds, memory_mb, counted),
    )


def _limits(latency_limit_ms: float, max_parameters: int, max_operations: int, counted: bool) -> Limits:
    for name, value in (("max_parameters", max_parameters), ("max_operations", max_operations)):
        if value < 0:
            raise InvalidParameter(f"{name} of a search must be 0 (no limit) or positive, got {value}; correct it")
    latency_ms = math.inf if counted else latency_limit_ms
    return Limits(latency_ms, max_parameters or math.inf, max_operations or math.inf)


def _trained(nearest: "TrialOutcome", space: Searched, trainer: "NeuralTrainer", deadline: float) -> Candidate:
    """Train an architecture whose graph is not here: the nearest to the limits, or what a process elsewhere found."""
    family, hyperparameters = space.point(nearest.params)
    network = trainer.untrained(family, hyperparameters)
    return trainer.trained(network, hyperparameters, deadline, lambda epoch, score: None)


def _kept(found: "StudyResult") -> Candidate | None:
    """Return the best trial's graph, None where there is none: with Postgres it is where it was trained."""
    if found.best is None or found.best.number not in found.kept:
        return None
    import onnx

    from fleetml.learn.graph import describe

    content, notes = found.kept[found.best.number].read_bytes(), found.best.notes
    graph = onnx.load_from_string(content)
    said = describe(graph)
    return Candidate(
        graph, said.family, said.hyperparameters, found.best.value, float(notes["latency_ms"]), len(content)
    )


def _line(outcome: "TrialOutcome", space: Searched) -> Outcome:
    """Return the line of the leaderboard; what was not trained has no error there."""
    family, hyperparameters = space.point(outcome.params)
    state, notes = _state(outcome), outcome.notes
    return Outcome(
        trial=outcome.number,
        family=family,
        hyperparameters=json.dumps(hyperparameters),
        state=state,
        validation_mase=outcome.value if state == "trained" else math.nan,
        seconds=outcome.seconds,
        size_bytes=int(notes.get("size_bytes", 0)),
        latency_ms=float(notes.get("latency_ms", math.nan)),
        reason=outcome.reason or str(notes.get("reason", "")),
    )


def _state(outcome: "TrialOutcome") -> str:
    if outcome.state == "complete":
        return "infeasible" if outcome.violation else "trained"
    return outcome.state if outcome.state == "pruned" else "failed"


def _counts(notes: Mapping[str, Any]) -> dict[str, int | None]:
    return {name: notes.get(name) for name in ("parameters", "operations")}


def _add(leaderboard: Artifact, columns: Mapping[int, Mapping[str, Any]]) -> None:
    """Add columns, given by trial, to the leaderboard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fleetml.atomic import aside

    table = pq.read_table(leaderboard.path)
    kinds = {"parameters": pa.int64(), "operations": pa.int64(), "front": pa.bool_()}
    for name, kind in kinds.items():
        values = [columns[number][name] for number in table.column("trial").to_pylist()]
        table = table.append_column(name, pa.array(values, kind))
    with aside(leaderboard.path) as temporary:
        pq.write_table(table, temporary)
