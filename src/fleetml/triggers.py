"""``triggers.yaml``: what the IR cannot say, and means the same on every engine.

    pipeline: pipeline.yaml          the IR beside this file
    owner: ml-platform
    schedule: "0 3 * * 1"            cron, UTC; leave out for none
    data_interval_end: window_end    the parameter that receives the end of a scheduled run's data interval (ISO 8601, UTC)
    assets:                          an event of any of them starts a run
      - uri: fleetml://drift/bandwidth
        parameters: {drift: features}    pipeline parameter: key of the event's payload
    defaults: {registry: "${FLEETML_REGISTRY}"}    parameters; ${NAME} as in `Settings.variables`
    emits:                           an output parameter that becomes an event's payload
      - {step: condition-1/retrain-event, output: event, asset: fleetml://drift/bandwidth}
    retries: 0                       of steps that state none themselves
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetml.errors import ConfigurationError
from fleetml.pipeline import Plan
from fleetml.settings import Settings

FILE = "triggers.yaml"
_KEYS = {"pipeline", "owner", "schedule", "data_interval_end", "assets", "defaults", "emits", "retries"}
_CRON = re.compile(r"([\d*/,\-]|[A-Za-z]{3})+( ([\d*/,\-L#]|[A-Za-z]{3})+){4}\Z")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class AssetTrigger:
    """An asset whose events start a run; `parameters` maps pipeline parameters to keys of the payload."""

    uri: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Emit:
    """The output parameter `output` of `step` is the payload of an event of `asset`."""

    step: str
    output: str
    asset: str


@dataclass(frozen=True)
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

    def check(self, plan: Plan, place: Path) -> None:
        """Hold the file at `place` against its pipeline. Raises ConfigurationError for what the pipeline lacks."""
        named = {*self.defaults, *(name for asset in self.assets for name in asset.parameters)}
        named |= {self.data_interval_end} - {""}
        if unknown := sorted(named - set(plan.inputs)):
            raise _error(place, f"names parameters of {plan.name}, which has no {', '.join(unknown)}", "remove or rename it")
        for emit in self.emits:
            step = plan.steps.get(emit.step)
            if step is None or emit.output not in step.output_parameters:
                raise _error(
                    place,
                    f"emits output '{emit.output}' of step '{emit.step}', which {plan.name} lacks",
                    f"its steps are {', '.join(plan.steps)}",
                )


def load(path: Path, settings: Settings) -> Triggers:
    """Read a triggers.yaml; a missing file means no triggers. Raises ConfigurationError naming the entry and the remedy."""
    if not path.is_file():
        return Triggers()
    document = _document(path)
    if unknown := sorted(set(document) - _KEYS):
        raise _error(path, f"has unknown entries {', '.join(unknown)}", f"known are {', '.join(sorted(_KEYS))}")
    schedule = document.get("schedule")
    if schedule is not None and not (isinstance(schedule, str) and _CRON.match(schedule)):
        raise _error(path, f"schedule must be five cron fields, got {schedule!r}", 'write e.g. "0 3 * * 1"')
    retries = document.get("retries", 0)
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise _error(path, f"retries must be a whole number from 0, got {retries!r}", "mend it")
    return Triggers(
        pipeline=str(document.get("pipeline", "pipeline.yaml")),
        owner=str(document.get("owner", "fleetml")),
        schedule=schedule,
        data_interval_end=str(document.get("data_interval_end") or ""),
        assets=tuple(_asset(path, entry) for entry in _list(path, document, "assets")),
        defaults={
            name: _filled(path, name, value, settings.variables())
            for name, value in _mapping(path, "defaults", document.get("defaults") or {}).items()
        },
        emits=tuple(_emit(path, entry) for entry in _list(path, document, "emits")),
        retries=retries,
    )


def _document(path: Path) -> dict[str, Any]:
    import yaml

    try:
        return _mapping(path, "the file", yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise _error(path, f"must be readable YAML: {' '.join(str(error).split())}", "mend it") from None


def _mapping(path: Path, what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _error(path, f"{what} must be a mapping, got {value!r}", "write `name: value` lines")
    return value


def _list(path: Path, document: Mapping[str, Any], name: str) -> list[Any]:
    value = document.get(name) or []
    if not isinstance(value, list):
        raise _error(path, f"{name} must be a list, got {value!r}", "start each entry with `- `")
    return value


def _asset(path: Path, entry: Any) -> AssetTrigger:
    entry = _mapping(path, "an entry of assets", entry)
    if set(entry) - {"uri", "parameters"} or not isinstance(entry.get("uri"), str):
        raise _error(path, f"an entry of assets has uri and parameters, got {entry!r}", "mend it")
    return AssetTrigger(entry["uri"], dict(_mapping(path, "parameters of an asset", entry.get("parameters") or {})))


def _emit(path: Path, entry: Any) -> Emit:
    entry = _mapping(path, "an entry of emits", entry)
    if set(entry) != {"step", "output", "asset"}:
        raise _error(path, f"an entry of emits has step, output and asset, got {entry!r}", "mend it")
    return Emit(str(entry["step"]), str(entry["output"]), str(entry["asset"]))


def _filled(path: Path, name: str, value: Any, variables: Mapping[str, str]) -> Any:
    def fill(match: re.Match[str]) -> str:
        if match[1] not in variables:
            raise _error(
                path, f"default '{name}' uses unknown ${{{match[1]}}}", f"known are {', '.join(sorted(variables))}"
            )
        return variables[match[1]]

    return _VARIABLE.sub(fill, value) if isinstance(value, str) else value


def _error(path: Path, what: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: {what}; {remedy}")
