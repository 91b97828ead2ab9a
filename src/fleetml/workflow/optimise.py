"""Hyperparameter search over a whole workflow: every trial is a run, with the cache on (Optuna).

    workflow_spec: …
    hyperparameter_config:
      search_space: {n_estimators: {type: integer, min: 10, max: 100}}
      max_trials: 50
      objective_metric: accuracy        (or task_id.metric)
      direction: maximize               (of metrics that are not ours; minimize)
      seed: 0
      sampler: tpe                      (or another of docs/hpo.md)

A name of the space is ``task_id.parameter``, a global parameter, or a parameter that one task alone takes. The metric is
the training task's, which is of the validation rows, before any other task's: a search must not choose by test rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.errors import ConfigurationError, InvalidParameter
from fleetml.frozen import frozen
from fleetml.learn import requested_space
from fleetml.learn.algorithms import METRICS
from fleetml.learn.requested_space import Dimension
from fleetml.learn.study.settings import StudySettings
from fleetml.records import fresh_id
from fleetml.settings import Settings
from fleetml.workflow import grammar, parameters
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.runs import RunFailed, RunResult, started, workflow_of
from fleetml.workflow.spec import Workflow

_REQUEST = ("workflow_spec", "hyperparameter_config")
_CONFIG = ("search_space", "max_trials", "objective_metric", "direction", "seed", "sampler")
_DIRECTIONS = ("maximize", "minimize")
_PLACE = "hyperparameter_config"
FIRST = ("MODEL_TRAINING", "HYPERPARAMETER_TUNING", "AUTOML")


@frozen
class Trial:
    """One run of the search; `value` None: the run did not succeed, `reason` says why."""

    number: int
    parameters: Mapping[str, Any]
    value: float | None
    run_id: str
    reason: str = ""


@frozen
class OptimisationResult:
    """The best trial and all of them; `record` is the file that holds them."""

    best_parameters: Mapping[str, Any]
    best_value: float
    best_run_id: str
    trials: tuple[Trial, ...]
    record: Path


@frozen
class Request:
    """A checked request. `task` "": the metric's task is found by the rule above."""

    workflow: Workflow
    space: Mapping[str, Dimension]
    max_trials: int
    metric: str
    task: str
    maximise: bool
    seed: int
    sampler: str

    def settings(self) -> StudySettings:
        """Return those of the study. Raises InvalidParameter for an unknown sampler."""
        return StudySettings(self.max_trials, sampler=self.sampler, seed=self.seed)


async def optimize_hyperparameters(
    request: Mapping[str, Any], *, settings: Settings | None = None
) -> OptimisationResult:
    """Search; return the best parameters, their value and all trials, which are kept in ``searches/`` too.

    A trial that fails counts as none. Raises InvalidWorkflow, InvalidParameter, ConfigurationError before anything runs,
    RunFailed when no trial succeeded. Cancelling it cancels the run that goes on.
    """
    checked = await asyncio.to_thread(parse, request)
    if settings is None:
        settings = await asyncio.to_thread(Settings.from_environment)
    study = await asyncio.to_thread(_study, checked)
    name = fresh_id(checked.workflow.pipeline)
    record = settings.home / "searches" / f"{name}.json"
    trials: list[Trial] = []
    for number in range(checked.max_trials):
        asked = study.ask()
        chosen = {each: dimension.suggest(asked, each) for each, dimension in checked.space.items()}
        trial = await _try(checked, settings, number, chosen, f"{name}-trial-{number}")
        await asyncio.to_thread(_tell, study, asked, trial.value)
        trials.append(trial)
        await asyncio.to_thread(_keep, record, checked, trials)
    return _result(checked, trials, record)


def parse(request: Any) -> Request:
    """Return the checked request. Raises InvalidWorkflow, InvalidParameter with the place."""
    found = grammar.mapping(request, _REQUEST, "", _REQUEST)
    workflow = workflow_of(found["workflow_spec"])
    config = grammar.mapping(found[_PLACE], _CONFIG, _PLACE, ("search_space", "objective_metric"))
    space = requested_space.parse(config["search_space"], f"{_PLACE}.search_space")
    if not space:
        raise InvalidWorkflow(f"{_PLACE}.search_space: holds no range; name what is searched")
    _check_space(workflow, space)
    task, metric = _metric(workflow, grammar.text(config["objective_metric"], f"{_PLACE}.objective_metric"))
    checked = Request(
        workflow,
        space,
        int(grammar.number(config.get("max_trials", 20), f"{_PLACE}.max_trials", 1, whole=True)),
        metric,
        task,
        _maximises(metric, config.get("direction")),
        int(grammar.number(config.get("seed", 0), f"{_PLACE}.seed", whole=True)),
        grammar.text(config.get("sampler", "tpe"), f"{_PLACE}.sampler"),
    )
    checked.settings()
    return checked


def _metric(workflow: Workflow, given: str) -> tuple[str, str]:
    """Return the task and the metric of ``task_id.metric`` or ``metric``."""
    task, dot, metric = given.rpartition(".")
    ids = [each.id for each in workflow.tasks]
    if dot and task not in ids:
        told = grammar.nearest(task, ids) or f"; the tasks are {', '.join(ids)}"
        raise InvalidWorkflow(f"{_PLACE}.objective_metric: {task!r} is no task{told}")
    return task, metric


def _maximises(metric: str, direction: Any) -> bool:
    if direction is None and metric in METRICS:
        return METRICS[metric]
    if direction not in _DIRECTIONS:
        told = "is needed for a metric of your own" if direction is None else f"must be one of them, got {direction!r}"
        raise InvalidWorkflow(
            f"{_PLACE}.direction: {' or '.join(_DIRECTIONS)} {told}; known metrics: {', '.join(METRICS)}"
        )
    return bool(direction == _DIRECTIONS[0])


def _check_space(workflow: Workflow, space: Mapping[str, Dimension]) -> None:
    """Every value at an end of its range must make a workflow that compiles."""
    from fleetml.workflow.emit import compiled

    ends = {name: dimension.ends() for name, dimension in space.items()}
    first = {name: values[0] for name, values in ends.items()}
    for name, values in ends.items():
        for value in values:
            compiled(apply(workflow, {**first, name: value}))


def apply(workflow: Workflow, chosen: Mapping[str, Any]) -> Workflow:
    """Return the workflow with these values. Raises InvalidWorkflow for a name that fits no task, or several."""
    for name, value in chosen.items():
        if name in workflow.parameters:
            workflow = replace(workflow, parameters={**workflow.parameters, name: value})
            continue
        task, parameter = _place(workflow, name)
        tasks = tuple(
            replace(each, parameters={**each.parameters, parameter: value}) if each.id == task else each
            for each in workflow.tasks
        )
        workflow = replace(workflow, tasks=tasks)
    return workflow


def _place(workflow: Workflow, name: str) -> tuple[str, str]:
    """Return the task and the parameter a name of the space stands for."""
    place = f"{_PLACE}.search_space.{name}"
    task, dot, parameter = name.rpartition(".")
    takes = {each.id: parameters.known(each) for each in workflow.tasks}
    found = [each for each, known in takes.items() if parameter in known and task in ("", each)]
    if len(found) > 1:
        raise InvalidWorkflow(f"{place}: is a parameter of {', '.join(found)}; write {found[0]}.{name}")
    if found:
        return found[0], parameter
    if dot and task not in takes:
        told = grammar.nearest(task, takes) or f"; the tasks are {', '.join(takes)}"
        raise InvalidWorkflow(f"{place}: {task!r} is no task{told}")
    known = {each for names in takes.values() for each in names}
    raise InvalidWorkflow(f"{place}: no task takes {parameter!r}{grammar.nearest(parameter, known) or '; remove it'}")


def _study(request: Request) -> Any:
    try:
        from fleetml.learn.study import samplers
        from fleetml.learn.study.space import of_dimensions

        made = requested_space.study(request.maximise, request.seed)
        if request.sampler != "tpe":
            made.sampler = samplers.made(of_dimensions(request.space), request.settings(), request.seed)
        return made
    except ImportError:
        raise ConfigurationError("a search needs optuna, which this Python lacks; use .venv/ml") from None


async def _try(request: Request, settings: Settings, number: int, chosen: Mapping[str, Any], run_id: str) -> Trial:
    """Run one trial, whatever becomes of it."""
    workflow = apply(request.workflow, chosen)
    run = await started(workflow, settings, {}, run_id)
    try:
        result = await run
    except RunFailed as error:
        return Trial(number, chosen, None, run_id, str(error))
    return Trial(number, chosen, _value(request, result), run_id)


def _value(request: Request, result: RunResult) -> float:
    """Return the metric of a run. Raises InvalidParameter where no task tells it."""
    order = sorted(request.workflow.tasks, key=lambda task: task.type not in FIRST)
    for task in order:
        figures = result.tasks[task.id].metrics
        value = figures.get(request.metric)
        if request.task in ("", task.id) and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    told = "; ".join(f"{task.id}: {', '.join(result.tasks[task.id].metrics)}" for task in order)
    raise InvalidParameter(
        f"objective_metric must be a figure that a task tells, got {request.metric!r}; these are told: {told}"
    )


def _tell(study: Any, asked: Any, value: float | None) -> None:
    import optuna

    study.tell(asked, value, state=optuna.trial.TrialState.FAIL if value is None else None)


def _best(request: Request, trials: list[Trial]) -> Trial | None:
    good = [trial for trial in trials if trial.value is not None]
    pick = max if request.maximise else min
    return pick(good, key=lambda trial: trial.value) if good else None  # type: ignore[arg-type,return-value]


def _keep(record: Path, request: Request, trials: list[Trial]) -> None:
    best = _best(request, trials)
    document = {
        "workflow_id": request.workflow.id,
        "objective_metric": request.metric,
        "direction": _DIRECTIONS[0] if request.maximise else _DIRECTIONS[1],
        "max_trials": request.max_trials,
        "search_space": {name: asdict(dimension) for name, dimension in request.space.items()},
        "trials": [asdict(trial) for trial in trials],
        "best": asdict(best) if best else None,
    }
    atomic.write_json(record, document)


def _result(request: Request, trials: list[Trial], record: Path) -> OptimisationResult:
    best = _best(request, trials)
    if best is None or best.value is None:
        last = trials[-1]
        raise RunFailed(
            last.run_id,
            "failed",
            f"a search needs a trial that succeeds, all {len(trials)} failed; the last: {last.reason}",
        )
    return OptimisationResult(best.parameters, best.value, best.run_id, tuple(trials), record)
