"""What a parameter of a component of ours may be, bounds or one of a few words: declared once, by its name, for all engines."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from fleetml.errors import InvalidParameter, nearest
from fleetml.pipeline import Plan, Step
from fleetml.pipeline.model import Constant, PipelineInput, Source, StepOutput

_OURS = ("python", "-m", "fleetml.component")

Range = Mapping[str, Any]
"""As JSON Schema names it: minimum, exclusiveMinimum, maximum, exclusiveMaximum of a number; enum, a list of words; pattern of a text."""

_COUNTS = (
    *(
        "window_days",
        "days",
        "context",
        "horizon",
        "max_windows",
        "test_windows",
        "max_rows",
        "min_rows",
        "min_forecasts",
    ),
    *("trials", "timeout_seconds", "epochs", "width", "train_episodes", "test_episodes", "workers", "batch_size"),
    *("rounds", "local_epochs", "clients", "min_clients"),
)
_AMOUNTS = (
    "max_loss",
    "cooldown_hours",
    "retrain_hours",
    "retrains_per_day",
    "memory_mb",
    "memory_budget_mb",
    "memory_limit_mb",
    "energy_budget_wh",
    "patience",
    "target_ratio",
    "target_latency_ms",
    "max_parameters",
    "max_operations",
    "false_alarms_per_vm_week",
    "server_learning_rate",
    "top",
    "latest_files",
)
_POSITIVE = (
    "latency_limit_ms",
    "latency_budget_ms",
    "size_budget_mb",
    "size_limit_mb",
    "seconds",
    "since_hours",
    "column_threshold",
    *("round_seconds", "clip"),
)
# Steps have folders of their own, in which nobody would find again what a relative path names
_FOLDER = "^($|/)"
_STORAGE = "^($|/|postgresql://(?![^/]*:[^/]*@)(?!.*password=))"
RANGES: Mapping[str, Range] = {
    **{name: {"minimum": 1} for name in _COUNTS},
    **{name: {"minimum": 0} for name in _AMOUNTS},
    **{name: {"exclusiveMinimum": 0} for name in _POSITIVE},
    "seed": {"minimum": 0, "maximum": 2**32 - 1},  # what scikit-learn and Optuna take
    "threshold": {"exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "alarms_per_vm_week": {"exclusiveMinimum": 0, "maximum": 2016},  # one for each row of five minutes
    "steps": {"minimum": 1, "maximum": 100},
    "smooth": {"minimum": 1, "maximum": 100},
    "trim": {"minimum": 0, "maximum": 0.5},
    "processes": {"minimum": 1, "maximum": 64},  # torchrun's on one machine
    "precision": {"enum": ["int8", "fp16"]},
    # fleetml.learn.study.settings.SAMPLERS and PRUNERS, components.nas.nas.SECOND: a run of cache hits loads none of them
    "sampler": {
        "enum": [
            *("auto", "random", "qmc", "grid", "tpe", "gp", "gp_ucb", "gp_pi", "cmaes", "nsga2", "evolution"),
            "reinforce",
        ]
    },
    "pruner": {"enum": ["none", "median", "halving", "hyperband", "wilcoxon"]},
    "second_objective": {"enum": ["", "latency", "operations"]},
    "rollout": {"enum": ["", "canary", "ab", "shadow"]},  # fleetml.serving.deployment.MODES, which takes long to import
    # components.federated.configuration
    "strategy": {"enum": ["fedavg", "fedprox", "fedadam", "fedyogi", "trimmed_mean", "krum"]},
    "selection": {"enum": ["random", "size", "speed", "staleness"]},
    "weights": {"enum": ["examples", "equal"]},
    "privacy": {"enum": ["", "central", "local"]},
    **{name: {"exclusiveMinimum": 0, "maximum": 1} for name in ("fraction", "update_share")},
    "delta": {"exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "min_improvement": {"minimum": 0, "maximum": 1},
    "storage": {"pattern": _STORAGE},
    "checkpoint_dir": {"pattern": _FOLDER},
    "exports_dir": {"pattern": _FOLDER},
    # fleetml.cost.power.fit.KINDS, which loads numpy; fleetml.cost.scores.RULES
    "power_kind": {"enum": ["auto", "mean", "streams", "additive", "load", "interacting"]},
    "score": {"enum": ["auto", "qoe_efficiency_score", "pixels_per_joule", "quality_per_watt", "throughput_per_watt"]},
}
"""What a parameter of this name may be in any of our components; some of them want more."""

OF_STAGES: Mapping[str, Mapping[str, Range]] = {
    # fleetml.learn.algorithms.OF_OBJECTIVE, which loads numpy
    "components.automl.": {"metric": {"enum": ["", "accuracy", "f1", "roc_auc", "log_loss", "rmse", "mae", "r2"]}},
    "components.tabular.": {"test_split": {"minimum": 0, "exclusiveMaximum": 1}},
}
"""What a parameter may be in the components of a stage, in others it means something else."""

CONTRADICTIONS: tuple[tuple[str, Mapping[str, Range], str], ...] = (
    (
        "components.nas.",
        {"counted": {"enum": [True]}, "second_objective": {"enum": ["latency"]}},
        "a counted search measures no latency; use operations, or leave counted out",
    ),
    (
        "components.compress.",
        {"counted": {"enum": [True]}, "target_latency_ms": {"exclusiveMinimum": 0}},
        "a counted compression measures no latency; give a limit of operations instead, or leave counted out",
    ),
    (
        "components.hpo.",
        {"counted": {"enum": [False]}, "max_operations": {"exclusiveMinimum": 0}},
        "it limits operations in place of the latency that a counted search does not measure; give counted, or leave the limit out",
    ),
    (  # components.federated.configuration.EXCLUSIONS has this and the next two, and those that compare numbers
        "components.federated.",
        {"strategy": {"enum": ["trimmed_mean", "krum"]}, "secure": {"enum": [True]}},
        "the server sees no single answer to compare; use fedavg, fedprox, fedadam or fedyogi",
    ),
    (
        "components.federated.",
        {"strategy": {"enum": ["trimmed_mean", "krum"]}, "privacy": {"enum": ["central"]}},
        "the noise is calibrated to a mean; use another strategy, or privacy local",
    ),
    (
        "components.federated.",
        {"privacy": {"enum": ["central", "local"]}, "weights": {"enum": ["examples"]}},
        "a region's share of the mean would have no bound; give weights equal",
    ),
    (  # fleetml.learn.study.settings._SINGLE
        "components.nas.",
        {
            "second_objective": {"enum": ["latency", "operations"]},
            "sampler": {"enum": ["gp_ucb", "gp_pi", "cmaes", "reinforce"]},
        },
        "this sampler knows one objective; use auto, nsga2, tpe or gp",
    ),
)
"""Values that steps of a stage do not take together, and why with the remedy."""

# A search of tables learns from all rows but the test rows, which are then what its model is judged on
_JUDGED = ("components.automl.", "components.tabular.evaluate")

_NUMBER = (int, float)
_KEEPS: Mapping[str, tuple[Any, Callable[[Any, Any], Any]]] = {
    "minimum": (_NUMBER, operator.ge),
    "exclusiveMinimum": (_NUMBER, operator.gt),
    "maximum": (_NUMBER, operator.le),
    "exclusiveMaximum": (_NUMBER, operator.lt),
    "enum": (object, lambda value, words: value in words),
    "pattern": (str, lambda value, pattern: re.search(pattern, value)),
}
_WORDS = {
    "minimum": ("at least", "greater"),
    "exclusiveMinimum": ("above", "greater"),
    "maximum": ("at most", "smaller"),
    "exclusiveMaximum": ("below", "smaller"),
}
_PATTERNS = {
    _FOLDER: "empty or an absolute path, for steps have folders of their own",
    _STORAGE: "empty, a journal's absolute path, for steps have folders of their own, or postgresql:// without a password "
    "(PGPASSWORD or ~/.pgpass)",
}


def of(plan: Plan) -> dict[str, Range]:
    """Return the range of each parameter of the pipeline whose steps bound it, the narrowest that they leave.

    Steps behind a condition on a parameter bound no number, for whoever leaves them out so may not care for it; a word that
    none of them knows is always a mistake.
    """
    found: dict[str, dict[str, Any]] = {}
    for step, bounds in _bounding(plan, ()):
        for name, source in _parameters(step):
            if isinstance(source, PipelineInput) and name in bounds:
                known = found.setdefault(source.name, {})
                for keyword, bound in bounds[name].items():
                    known[keyword] = _narrower(keyword, bound, known.get(keyword, bound))
    return dict(found)


def _narrower(keyword: str, one: Any, other: Any) -> Any:
    if keyword == "enum":
        return [word for word in one if word in other]
    if keyword == "pattern":
        return one if one == other else f"(?={one})(?={other})"
    return max(one, other) if keyword.lower().endswith("minimum") else min(one, other)


def check(plan: Plan, given: Mapping[str, Any], kept: Collection[str] = ()) -> None:
    """Raise InvalidParameter for a number out of the range of a step that will run, a text that a step does not know, and
    for what contradicts itself.

    Steps in `kept` will not run. `given` holds parameters of the pipeline, not necessarily all.
    """
    for step, bounds in _bounding(plan, kept):
        for name, known_as, value in known(step, given):
            if name in bounds and (fault := _fault(bounds[name], value)):
                raise InvalidParameter(f"parameter '{known_as}' of step '{step.name}' must be {fault}")
        if not _is_chosen(step, plan) and (fault := _contradiction(step, given)):
            raise InvalidParameter(fault)


def _contradiction(step: Step, given: Mapping[str, Any]) -> str:
    """Return which parameters of a step exclude each other, and why; "" for none."""
    has = {name: (known_as, value) for name, known_as, value in known(step, given)}
    for stage, together, why in CONTRADICTIONS:
        if (
            has
            and _is_of(step, stage)
            and all(name in has and not _broken(range_, has[name][1]) for name, range_ in together.items())
        ):
            told = " and ".join(f"'{has[name][0]}' ({has[name][1]})" for name in together)
            return f"parameters {told} of step '{step.name}' exclude each other: {why}"
    return ""


def _bounding(plan: Plan, kept: Collection[str]) -> Iterator[tuple[Step, Mapping[str, Range]]]:
    """Yield the steps but those in `kept`, and the ranges that hold for each whether or not its condition comes true."""
    for step in plan.steps.values():
        if step.name not in kept:
            known = {**RANGES, **_of_stage(step, plan)}
            words = {name: each for name, each in known.items() if not {"enum", "pattern"}.isdisjoint(each)}
            yield step, words if _is_chosen(step, plan) else known


def _of_stage(step: Step, plan: Plan) -> dict[str, Range]:
    """Return the ranges of a step's stage; rows that a search leaves to a judge must be some."""
    found = {name: each for stage, ranges in OF_STAGES.items() if _is_of(step, stage) for name, each in ranges.items()}
    after = [other for other in plan.steps.values() if _reads(other, step)]
    if "test_split" in found and all(any(_is_of(each, stage) for each in after) for stage in _JUDGED):
        found["test_split"] = {**found["test_split"], "exclusiveMinimum": 0}
    return found


def _reads(step: Step, before: Step) -> bool:
    return any(isinstance(each, StepOutput) and each.step == before.name for each in step.artifacts.values())


def _is_of(step: Step, stage: str) -> bool:
    command = step.container.command
    return command[:3] == _OURS and "".join(command[3:4]).startswith(stage)


def _is_chosen(step: Step, plan: Plan) -> bool:
    """Say whether a parameter of the pipeline decides if the step runs."""
    guards = (task.guard for task in (step, *(plan.groups[group] for group in step.group)) if task.guard)
    return any(isinstance(source, PipelineInput) for guard in guards for source in guard.inputs.values())


def unconditional(plan: Plan, kept: Collection[str] = ()) -> Iterator[Step]:
    """Yield the steps that no condition may leave out, but those in `kept`."""
    for step in plan.steps.values():
        tasks = (step, *(plan.groups[group] for group in step.group))
        if step.name not in kept and not any(task.guard for task in tasks):
            yield step


def known(step: Step, given: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield the parameters of a step of ours that are known before the run: its name, that which a person gives, the value."""
    for name, source in _parameters(step):
        if isinstance(source, PipelineInput):
            known_as, value = source.name, given.get(source.name)
        else:
            known_as, value = name, source.value if isinstance(source, Constant) else None
        if value is not None:
            yield name, known_as, value


def _parameters(step: Step) -> Iterator[tuple[str, Source]]:
    """Yield the parameters of a component of ours; what one of others wants by such a name, it alone knows."""
    if _is_of(step, "components."):
        yield from step.parameters.items()


def _fault(range_: Range, value: Any) -> str:
    """Return what a value must be that it is not, and the remedy; "" for one within its range."""
    keyword = _broken(range_, value)
    if keyword == "enum":
        return _unknown(value, range_[keyword])
    if keyword == "pattern":
        scheme, separator, _ = value.partition("://")  # what comes after it may be a password
        return f"{_PATTERNS[range_[keyword]]}, got {f'{scheme}://…' if separator else repr(value)}; correct it"
    if keyword:
        words, remedy = _WORDS[keyword]
        return f"{words} {range_[keyword]}, got {value}; give a {remedy} number"
    return ""


def _broken(range_: Range, value: Any) -> str:
    """Return the keyword of a range that a value does not keep; "" where it keeps all."""
    for keyword, bound in range_.items():
        kind, keeps = _KEEPS[keyword]
        if isinstance(value, kind) and not (kind is _NUMBER and isinstance(value, bool)) and not keeps(value, bound):
            return keyword
    return ""


def _unknown(value: Any, words: list[str]) -> str:
    told = nearest(str(value), words) or "; give one of those"
    return f"{'empty or ' if '' in words else ''}one of {', '.join(filter(None, words))}, got {value!r}{told}"
