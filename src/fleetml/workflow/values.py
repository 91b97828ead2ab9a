"""Values of the right type that a step would refuse all the same, refused before anything runs.

A value with a reference (``${…}``) is known only in the run; then the step says it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fleetml.errors import InvalidParameter
from fleetml.learn import requested_space
from fleetml.learn.algorithms import ALGORITHMS, METRICS, OBJECTIVES, TRANSFORMATIONS, fault
from fleetml.pipeline.values import canonical_json
from fleetml.serving.release import Deployment
from fleetml.workflow import catalogue, grammar
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.spec import Task

FORMATS = ("csv", "parquet")
Values = Mapping[str, Any]


def check(task: Task, given: Values) -> None:
    """Hold a task's values, its own and those of global parameters, to what its component takes. Raises InvalidWorkflow."""
    known = {name: value for name, value in given.items() if "${" not in canonical_json(value)}
    place = f"{task.place}.parameters"
    for name, names in (("objective", OBJECTIVES), ("format", FORMATS)):
        if name in catalogue.parameters(task.kind.component) and known.get(name):
            one_of(str(known[name]).lower(), names, f"{place}.{name}")
    if own := _CHECKS.get(task.kind.component):
        own(known, given, place)


def one_of(value: Any, names: Iterable[str], place: str) -> None:
    """Raises InvalidWorkflow for a value that is none of the names."""
    names = list(names)
    if value not in names:
        told = grammar.nearest(str(value), names) or "; choose one"
        raise InvalidWorkflow(f"{place}: {value!r} is none of {', '.join(names)}{told}")


def features(entries: Any, place: str, target: Any = None) -> None:
    """Check a list of features as far as it can be without the data. Raises InvalidWorkflow."""
    for at, entry in enumerate(grammar.items(entries, place)):
        here = f"{place}[{at}]"
        entry = {"name": entry} if isinstance(entry, str) else entry
        found = grammar.mapping(entry, ("name", "type", "transformations"), here, ("name",))
        if target is not None and found["name"] == target:
            raise InvalidWorkflow(f"{here}: {target!r} is the target; remove it")
        chosen = found.get("transformations") or []
        for name in [chosen] if isinstance(chosen, str) else grammar.items(chosen, f"{here}.transformations"):
            one_of(name, TRANSFORMATIONS, f"{here}.transformations")


def _prepare(known: Values, given: Values, place: str) -> None:
    split, test = known.get("validation_split", 0.2), known.get("test_split", 0.1)
    numbers = isinstance(split, int | float) and isinstance(test, int | float)
    if numbers and not (split > 0 and test >= 0 and split + test < 1):
        raise InvalidWorkflow(
            f"{place}.validation_split: must be above 0 and below 1 together with test_split, got {split} and {test}; "
            "correct them"
        )


def _extract(known: Values, given: Values, place: str) -> None:
    features(known.get("features") or [], f"{place}.features", known.get("target"))


def _train(known: Values, given: Values, place: str) -> None:
    algorithm = known.get("algorithm", catalogue.parameters("train")["algorithm"].default)
    if "algorithm" in known or "algorithm" not in given:
        _hyperparameters(algorithm, {name: value for name, value in known.items() if name in _names()}, place)


def _tune(known: Values, given: Values, place: str) -> None:
    if known.get("objective_metric"):
        one_of(known["objective_metric"], METRICS, f"{place}.objective_metric")
    for name, least in (("max_trials", 1), ("timeout_seconds", 1), ("trial_seconds", 0), ("memory_mb", 0)):
        if name in known:
            grammar.number(known[name], f"{place}.{name}", least)
    algorithm = known.get("algorithm", "")
    if algorithm:
        one_of(algorithm, ALGORITHMS, f"{place}.algorithm")
    if space := known.get("search_space"):
        if not given.get("algorithm"):
            raise InvalidWorkflow(f"{place}.search_space: is that of one algorithm, none is given; give algorithm too")
        _search_space(algorithm, space, f"{place}.search_space")


def _automl(known: Values, given: Values, place: str) -> None:
    if known.get("metric"):
        one_of(known["metric"], METRICS, f"{place}.metric")
    for name, least in (
        ("trials", 1),
        ("timeout_seconds", 1),
        ("workers", 1),
        ("memory_mb", 0),
        ("memory_limit_mb", 0),
    ):
        if name in known:
            grammar.number(known[name], f"{place}.{name}", least)
    for name in ("latency_limit_ms", "size_limit_mb"):
        if name in known and not grammar.number(known[name], f"{place}.{name}"):
            raise InvalidWorkflow(f"{place}.{name}: must be above 0, got {known[name]}; raise it")
    if known.get("group") and known.get("time_column"):
        raise InvalidWorkflow(
            f"{place}.time_column: validation is grouped or ordered in time, group is given too; leave one out"
        )


def _search_space(algorithm: str, wanted: Any, place: str) -> None:
    """Check a space; the ends of its dimensions as far as the algorithm is known before the run."""
    try:
        space = requested_space.parse(wanted, place)
    except InvalidParameter as error:
        raise InvalidWorkflow(str(error)) from None
    for name, dimension in space.items() if algorithm else ():
        for value in dimension.ends():
            _hyperparameters(algorithm, {name: value}, place)


def _validate(known: Values, given: Values, place: str) -> None:
    for name, bound in (known.get("thresholds") or {}).items():
        one_of(name, METRICS, f"{place}.thresholds")
        if not isinstance(bound, int | float) or isinstance(bound, bool):
            raise InvalidWorkflow(f"{place}.thresholds.{name}: must be a number, got {bound!r}; correct it")


def _deploy(known: Values, given: Values, place: str) -> None:
    try:
        Deployment.of({name: known[name] for name in ("target", "scaling_config") if name in known}, place)
    except InvalidParameter as error:
        raise InvalidWorkflow(str(error)) from None


def _hyperparameters(algorithm: str, chosen: Values, place: str) -> None:
    if wrong := fault(algorithm, chosen):
        name, what = wrong
        told = grammar.nearest(algorithm, ALGORITHMS) if name == "algorithm" else ""
        raise InvalidWorkflow(f"{place}.{name}: {what}{told}")


def _names() -> set[str]:
    return {name for each in ALGORITHMS.values() for name in each.knows}


_CHECKS: Mapping[str, Callable[[Values, Values, str], None]] = {
    "prepare": _prepare,
    "extract": _extract,
    "train": _train,
    "tune": _tune,
    "automl-tabular": _automl,
    "validate": _validate,
    "deploy": _deploy,
}
