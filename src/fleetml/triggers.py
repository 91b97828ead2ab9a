"""``triggers.yaml``: what the IR cannot say, and means the same on every engine.

    pipeline: pipeline.yaml          the IR beside this file
    owner: ml-platform
    schedule: "0 3 * * 1"            cron, UTC; leave out for none
    data_interval_end: window_end    the parameter that gets the end of a scheduled run's data interval (ISO, UTC)
    assets:                          each event of one of them starts a run
      - uri: fleetml://drift/forecaster
        parameters: {drift: features}    pipeline parameter: key of the event's payload
      - uri: fleetml://cost-model        a pipeline: its runs that succeeded, with its outputs as payload
    defaults: {registry: "${FLEETML_REGISTRY}"}    parameters; ${NAME} as in `Settings.defaults`
    emits:                           an output parameter (a STRUCT) that becomes the payload of an event
      - {step: drifted/retrain-event, output: event, asset: fleetml://drift/forecaster}
    retries: 0                       of steps that state none themselves
    budget: {run: {money: 5}, month: {money: 100, stop: true}}    see `fleetml.cost.budget`

What a pipeline lacks is found by `Triggers.check`, which needs its plan; everything else by `load`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetml import ranges
from fleetml.cost.budget import Budget
from fleetml.errors import ConfigurationError, InvalidParameter
from fleetml.frozen import field, frozen, replace
from fleetml.pipeline import Plan, yaml_text
from fleetml.pipeline.document import parsed
from fleetml.pipeline.values import cast
from fleetml.settings import Settings

FILE = "triggers.yaml"
_KEYS = ("pipeline", "owner", "schedule", "data_interval_end", "assets", "defaults", "emits", "retries", "budget")
_VARIABLE = r"\$\{([^}]*)\}"
_URI = r"[a-z][a-z0-9+.-]*://[^/\s]+/[!-~]+\Z"  # with a path: Airflow adds a slash to others
_PIPELINE = r"fleetml://[^/\s]+/?\Z"  # of a pipeline's runs that succeeded, which they alone tell of
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CRON: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)


@frozen
class AssetTrigger:
    """An asset whose events start a run; `parameters` maps pipeline parameters to keys of the payload."""

    uri: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@frozen
class Emit:
    """The output parameter `output` of `step` is the payload of an event of `asset`."""

    step: str
    output: str
    asset: str


@frozen
class Triggers:
    """The contents of a triggers.yaml, `defaults` with their variables filled in."""

    pipeline: str = "pipeline.yaml"
    owner: str = "fleetml"
    schedule: str | None = None
    data_interval_end: str = ""
    assets: tuple[AssetTrigger, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    emits: tuple[Emit, ...] = ()
    retries: int = 0
    budget: Budget | None = None

    def check(self, plan: Plan, place: Path) -> None:
        """Hold the file at `place` against its pipeline.

        Raises ConfigurationError for what the pipeline lacks, InvalidParameter for a default of the wrong type or out of range.
        """
        for name in self._named():
            if name not in plan.inputs:
                known = ", ".join(plan.inputs) or "none"
                raise _error(place, f"names the parameter '{name}', which {plan.name} lacks", f"it has {known}")
        for name, value in self.defaults.items():
            cast(value, plan.inputs[name].type, f"{place}: default '{name}'")
        try:
            ranges.check(plan, self.defaults)
        except InvalidParameter as error:
            raise InvalidParameter(f"{place}: defaults: {error}") from None
        if self.data_interval_end and plan.inputs[self.data_interval_end].type != "STRING":
            raise _error(
                place, f"data_interval_end: '{self.data_interval_end}' is not a text", "name a STRING parameter"
            )
        for emit in self.emits:
            _check_emit(place, plan, emit)
        for start, filled in self._starts():
            if lacking := [
                n for n, known in plan.inputs.items() if known.required and n not in filled | set(self.defaults)
            ]:
                raise _error(place, f"{start} starts {plan.name} without its parameter '{lacking[0]}'", "add a default")

    def remembering(self, plan: Plan, settings: Settings) -> Triggers:
        """Return the triggers with what was given by hand when this pipeline was last trained (`Subject.given`) as further defaults.

        What the file itself fills in goes before it.
        """
        known = settings.subject.given if settings.subject.pipeline == plan.name else {}
        kept = {name: value for name, value in known.items() if name in plan.inputs and name not in set(self._named())}
        return replace(self, defaults={**kept, **self.defaults}) if kept else self

    @property
    def filled(self) -> set[str]:
        """The parameters that some way of starting a run fills in."""
        return {name for _, names in self._starts() for name in names}

    def _named(self) -> Iterator[str]:
        yield from self.defaults
        for asset in self.assets:
            yield from asset.parameters
        if self.data_interval_end:
            yield self.data_interval_end

    def _starts(self) -> Iterator[tuple[str, set[str]]]:
        """Yield each way a run starts by itself, and the parameters it fills."""
        if self.schedule:
            yield "the schedule", {self.data_interval_end} - {""}
        for asset in self.assets:
            yield f"the asset {asset.uri}", set(asset.parameters)


def load(path: Path, settings: Settings) -> Triggers:
    """Read a triggers.yaml; a missing file means no triggers.

    Raises ConfigurationError naming the file, the entry and the remedy.
    """
    if not path.is_file():
        return Triggers()
    document = _document(path, settings.home / "ir")
    for key in document:
        if key not in _KEYS:
            raise _error(path, f"has the unknown entry '{key}'", f"known are {', '.join(_KEYS)}")
    retries = document.get("retries", 0)
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise _error(path, f"retries must be a whole number from 0, got {retries!r}", "mend it")
    return Triggers(
        pipeline=_text(path, document, "pipeline", "pipeline.yaml"),
        owner=_text(path, document, "owner", "fleetml"),
        schedule=_schedule(path, document.get("schedule")),
        data_interval_end=_text(path, document, "data_interval_end", ""),
        assets=tuple(_asset(path, entry) for entry in _list(path, document, "assets")),
        defaults={
            name: _default(path, name, value, settings.defaults())
            for name, value in _mapping(path, "defaults", document.get("defaults") or {}).items()
        },
        emits=tuple(_emit(path, entry) for entry in _list(path, document, "emits")),
        retries=retries,
        budget=_budget(path, document.get("budget"), settings),
    )


def _budget(path: Path, document: Any, settings: Settings) -> Budget | None:
    try:
        return Budget.of(document, settings.cost.currency)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _document(path: Path, cache: Path) -> dict[str, Any]:
    def parse(content: bytes) -> dict[str, Any]:
        found = yaml_text.documents(content)
        if len(found) > 1:
            raise ValueError("it holds several documents")
        return _mapping(path, "the file", found[0] if found else {})

    try:
        return parsed(path.read_bytes(), cache, parse)
    except (OSError, ValueError) as error:
        raise _error(path, f"must be readable YAML: {' '.join(str(error).split())}", "mend it") from None


def _schedule(path: Path, value: Any) -> str | None:
    if value is None:
        return None
    fault = _cron_fault(value) if isinstance(value, str) else "it is no text"
    if fault:
        raise _error(path, f"schedule must be five cron fields, got {value!r}: {fault}", 'write e.g. "0 3 * * 1"')
    return " ".join(value.split())


def _cron_fault(schedule: str) -> str:
    """Return what is wrong with a cron expression, "" for nothing."""
    fields = schedule.split()
    if len(fields) != len(_CRON):
        return f"it has {len(fields)}"
    for text, (what, low, high, names) in zip(fields, _CRON, strict=True):
        if not all(_in_range(part.lower(), low, high, names) for part in text.split(",")):
            return f"'{text}' is no {what}"
    return ""


def _in_range(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    """Say whether ``*``, ``5``, ``1-5``, ``*/2``, ``1-5/2`` or ``mon-fri`` lies within a field's bounds."""
    span, slash, every = part.partition("/")
    if slash and not (every.isdecimal() and 0 < int(every) <= high):
        return False
    if span == "*":
        return True
    ends = [str(names.index(end)) if end and end in names else end for end in span.split("-")]
    return (
        len(ends) <= 2
        and all(end.isdecimal() and low <= int(end) <= high for end in ends)
        and int(ends[0]) <= int(ends[-1])
    )


def _text(path: Path, document: Mapping[str, Any], name: str, default: str) -> str:
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or not value:
        raise _error(path, f"{name} must be a text, got {value!r}", "mend or remove it")
    return value


def _mapping(path: Path, what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise _error(path, f"{what} must be a mapping of names, got {value!r}", "write `name: value` lines")
    return value


def _list(path: Path, document: Mapping[str, Any], name: str) -> list[Any]:
    value = document.get(name) or []
    if not isinstance(value, list):
        raise _error(path, f"{name} must be a list, got {value!r}", "start each entry with `- `")
    return value


def _asset(path: Path, entry: Any) -> AssetTrigger:
    entry = _mapping(path, "an entry of assets", entry)
    if set(entry) - {"uri", "parameters"} or "uri" not in entry:
        raise _error(path, f"an entry of assets has uri and parameters, got {entry!r}", "mend it")
    named = _mapping(path, "parameters of an asset", entry.get("parameters") or {})
    if wrong := [key for key in named.values() if not isinstance(key, str)]:
        raise _error(
            path, f"an asset's parameters name keys of its payload, got {wrong[0]!r}", "write `parameter: key`"
        )
    uri = entry["uri"]
    if isinstance(uri, str) and re.match(_PIPELINE, uri):
        return AssetTrigger(uri.rstrip("/"), named)
    return AssetTrigger(_uri(path, uri), named)


def _emit(path: Path, entry: Any) -> Emit:
    entry = _mapping(path, "an entry of emits", entry)
    if set(entry) != {"step", "output", "asset"}:
        raise _error(path, f"an entry of emits has step, output and asset, got {entry!r}", "mend it")
    return Emit(str(entry["step"]), str(entry["output"]), _uri(path, entry["asset"]))


def _uri(path: Path, value: Any) -> str:
    if not (isinstance(value, str) and re.match(_URI, value)) or value.startswith("airflow:"):
        raise _error(path, f"an asset is a URI such as fleetml://drift/cpu, got {value!r}", "mend it")
    return value.rstrip("/")


def _check_emit(place: Path, plan: Plan, emit: Emit) -> None:
    step = plan.steps.get(emit.step)
    if step is None:
        raise _error(
            place, f"emits from step '{emit.step}', which {plan.name} lacks", f"it has {', '.join(plan.steps)}"
        )
    output = step.output_parameters.get(emit.output)
    if output is None or output.type != "STRUCT":
        has = ", ".join(name for name, known in step.output_parameters.items() if known.type == "STRUCT") or "none"
        raise _error(place, f"emits '{emit.output}', which is no STRUCT that '{emit.step}' puts out", f"it has {has}")


def _default(path: Path, name: str, value: Any, variables: Mapping[str, str]) -> Any:
    """Return a default with its variables filled in, in the texts of lists and mappings too."""
    match value:
        case None:
            raise _error(path, f"default '{name}' has no value", "write one or remove the line")
        case str():
            return re.sub(_VARIABLE, lambda found: _variable(path, name, found[1], variables), value)
        case list():
            return [_default(path, name, item, variables) for item in value]
        case dict():
            return {key: _default(path, name, item, variables) for key, item in value.items()}
    return value


def _variable(path: Path, name: str, variable: str, variables: Mapping[str, str]) -> str:
    if variable not in variables:
        raise _error(
            path, f"default '{name}' uses the unknown ${{{variable}}}", f"known are {', '.join(sorted(variables))}"
        )
    return variables[variable]


def _error(path: Path, what: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: {what}; {remedy}")
