"""What a step asks of its cluster: the second document that kfp-kubernetes writes (``platforms``).

Settings stay by feature ("secretAsEnv", "nodeSelector" …) as they are written, made plain: whole numbers are integers,
and of the ways to say a name (``secretName``, ``secretNameParameter``, …) one is left, ``secretName``, a `Source`.
Two images stand for what a cluster does without a container; they are the features "createPvc" and "deletePvc".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fleetml.errors import InvalidParameter, InvalidPipeline
from fleetml.frozen import frozen, replace
from fleetml.pipeline.ir import walk
from fleetml.pipeline.model import Constant, Container, PipelineInput, Source, Step
from fleetml.pipeline.platform_grammar import NEEDED, PLATFORM, REFERENCE
from fleetml.pipeline.values import ABSENT, cast, shown
from fleetml.pipeline.wiring import Ports, Typed, constant, named, origin

OPERATIONS = {"argostub/createpvc": "createPvc", "argostub/deletepvc": "deletePvc"}

_PLACE = "platforms.kubernetes.deploymentSpec.executors"
# What names the thing that a feature brings in, and what else in the document may hold that name.
_NAMES = {
    "secretAsVolume": "secretName",
    "secretAsEnv": "secretName",
    "imagePullSecret": "secretName",
    "configMapAsVolume": "configMapName",
    "configMapAsEnv": "configMapName",
    "pvcMount": "pvcName",
}
_SPELLINGS = {*_NAMES.values(), *(f"{name}Parameter" for name in _NAMES.values()), *REFERENCE, "constant"}
# Settings that come whole from a parameter: in the document, in a step, and the types it may have.
_WHOLE = {
    "nodeSelectorJson": ("labels", ("STRUCT",)),
    "nodeAffinityJson": ("nodeAffinityJson", ("STRUCT",)),
    "tolerationJson": ("tolerationJson", ("STRUCT", "LIST")),
}
_KINDS = {**dict.fromkeys(_NAMES.values(), ("STRING",)), **dict(_WHOLE.values())}
_INTEGERS = {"activeDeadlineSeconds", "tolerationSeconds", "weight", "runAsUser", "runAsGroup"}


def check(spec: Mapping[str, Any]) -> None:
    """Raise InvalidPipeline or UnsupportedConstruct at the first place in ``platforms`` that breaks the grammar."""
    walk(spec.get("platforms", {}), {"kubernetes": PLATFORM}, "platforms")
    known = spec.get("deploymentSpec", {}).get("executors", {})
    for label, settings in executors(spec).items():
        named(label, known, _PLACE, "executor")
        for feature, entry, place in _entries(label, settings):
            _complete(feature, entry, place)
            _reference(feature, entry, place)


def executors(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings as written, by executor label."""
    found: Mapping[str, Any] = spec.get("platforms", {}).get("kubernetes", {})
    return found.get("deploymentSpec", {}).get("executors", {})


def features(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the features that the steps of a document ask for, each with the first place that does."""
    found: dict[str, str] = {}
    for label, settings in executors(spec).items():
        for feature, _, place in _entries(label, settings):
            found.setdefault(feature, place)
    for label, executor in spec.get("deploymentSpec", {}).get("executors", {}).items():
        if operation := OPERATIONS.get(executor.get("container", {}).get("image", "")):
            found.setdefault(operation, f"deploymentSpec.executors.{label}")
    return found


def producers(settings: Mapping[str, Any]) -> list[str]:
    """Return the tasks whose outputs an executor's settings refer to."""
    found = [reference.spec for entry in _entries("", settings) if (reference := _reference(*entry))]
    return [spec["taskOutputParameter"].get("producerTask", "") for spec in found if "taskOutputParameter" in spec]


def sources(label: str, settings: Mapping[str, Any], given: Ports, made: Mapping[str, Ports]) -> dict[str, Any]:
    """Return an executor's settings with a `Source` in the place of each reference.

    `given` is what the DAG around the task gets, `made` what the tasks before it give. Raises InvalidPipeline.
    """

    def wired(feature: str, entry: Any, place: str) -> Any:
        reference = _reference(feature, entry, place)
        if reference is None:
            return _plain(feature, entry, place)
        rest = {} if reference.whole else {n: _plain(n, v, place) for n, v in entry.items() if n not in _SPELLINGS}
        return {**rest, reference.key: _source(reference, given, made, place)}

    found: dict[str, Any] = {}
    for feature, entry, place in _entries(label, settings):
        setting = wired(feature, entry, place)
        if isinstance(settings[feature], list):
            found.setdefault(feature, []).append(setting)
        else:
            found[feature] = setting
    return found


def read(platform: Mapping[str, Any]) -> Iterator[Source]:
    """Yield the sources in a step's settings."""
    for setting in platform.values():
        for entry in setting if isinstance(setting, list) else [setting]:
            if isinstance(entry, dict):
                yield from (value for value in entry.values() if isinstance(value, Source))


def filled(platform: Mapping[str, Any], value: Callable[[Source], Any], place: str) -> dict[str, Any]:
    """Return a step's settings with values in the place of the sources; what an optional input leaves open is left out.

    Raises InvalidPipeline for a value that is no name, or no such setting.
    """

    def of(feature: str, entry: Any) -> Any:
        if not isinstance(entry, dict):
            return entry
        done = {key: value(inner) if isinstance(inner, Source) else inner for key, inner in entry.items()}
        if ABSENT in done.values():
            return ABSENT
        given = [key for key, inner in entry.items() if isinstance(inner, Source)]
        return {**done, **{key: _fitting(key, done[key], f"{place}: {feature}.{key}") for key in given}}

    found: dict[str, Any] = {}
    for feature, setting in platform.items():
        if isinstance(setting, list):
            found[feature] = [made for entry in setting if (made := of(feature, entry)) is not ABSENT]
        else:
            found[feature] = of(feature, setting)
    return {feature: setting for feature, setting in found.items() if setting is not ABSENT and setting != []}


def known_secrets(step: Step, bound: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return which secrets a step asks for ("secretAsEnv"), as far as that is known before the run; `bound` as in `Plan.bind`."""

    def value(source: Source) -> Any:
        return source.value if isinstance(source, Constant) else bound.get(source.name, source.default)  # type: ignore[union-attr]

    entries = [
        entry
        for entry in step.platform.get("secretAsEnv", ())
        if all(isinstance(each, Constant | PipelineInput) for each in entry.values() if isinstance(each, Source))
    ]
    return list(filled({"secretAsEnv": entries}, value, f"step '{step.name}'").get("secretAsEnv", ()))


def operation(container: Container) -> tuple[Container, dict[str, Any]]:
    """Return a container, and the feature it stands for where its image is one of `OPERATIONS`.

    Nothing is executed for such a one; its only argument is the executor input, which holds what is asked for.
    """
    feature = OPERATIONS.get(container.image)
    return (replace(container, args=("{{$}}",)), {feature: {}}) if feature else (container, {})


@frozen
class _Reference:
    """Where a setting's value comes from: `spec` as in a task's inputs, `key` where it stands in a step."""

    key: str
    spec: Mapping[str, Any]
    whole: bool = False


def _complete(name: str, entry: Any, place: str) -> None:
    """Raise InvalidPipeline where an entry lacks what it cannot do without."""
    if not isinstance(entry, dict):
        return
    for key in NEEDED.get(name, ()):
        if not entry.get(key):
            raise InvalidPipeline(f"{place} needs {key}, got {shown(entry)}; compile the pipeline again")
    for key, inner in entry.items():
        for index, each in enumerate(inner if isinstance(inner, list) else ()):
            _complete(f"{name}.{key}", each, f"{place}.{key}[{index}]")


def _entries(label: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield each entry of each feature: the feature, the entry, its place."""
    for feature, setting in settings.items():
        place = f"{_PLACE}.{label}.{feature}"
        if isinstance(setting, list):
            yield from ((feature, entry, f"{place}[{index}]") for index, entry in enumerate(setting))
        else:
            yield feature, setting, place


def _reference(feature: str, entry: Any, place: str) -> _Reference | None:
    if name := _NAMES.get(feature):
        if spec := entry.get(f"{name}Parameter"):
            return _Reference(name, spec)
        if constant_name := entry.get(name) or entry.get("constant"):
            return _Reference(name, {"runtimeValue": {"constant": constant_name}})
        spec = {key: entry[key] for key in REFERENCE if key in entry}
        if not spec:
            raise InvalidPipeline(f"{place} needs a {name}, got {shown(entry)}; compile the pipeline again")
        return _Reference(name, spec)
    for written, (key, _) in _WHOLE.items():
        if isinstance(entry, dict) and written in entry:
            return _Reference(key, entry[written], whole=True)
    return None


def _source(reference: _Reference, given: Ports, made: Mapping[str, Ports], place: str) -> Source:
    at, key = f"{place}.{reference.key}", reference.key
    if "runtimeValue" in reference.spec:
        found = Typed(constant(reference.spec["runtimeValue"].get("constant"), given.parameters, at))
    else:
        found = origin(reference.spec, given, made, at)
    if found.type and found.type not in _KINDS[key]:
        raise InvalidPipeline(f"{at} must be {' or '.join(_KINDS[key])}, got {found.type}; connect such a parameter")
    return Constant(_fitting(key, found.source.value, at)) if isinstance(found.source, Constant) else found.source


def _fitting(key: str, value: Any, place: str) -> Any:
    """Return a value as what the setting has to be. Raises InvalidPipeline."""
    kind = "LIST" if isinstance(value, list) and "LIST" in _KINDS[key] else _KINDS[key][0]
    try:
        made = cast(value, kind, place)
    except InvalidParameter as error:
        raise InvalidPipeline(f"{error}; mend the parameter it comes from") from None
    if made == "":
        raise InvalidPipeline(f"{place} must be a name, got an empty text; give one, or none at all")
    return made


def _plain(key: str, value: Any, place: str) -> Any:
    """Return a setting with its whole numbers as integers."""
    if isinstance(value, dict):
        return {name: _plain(name, inner, f"{place}.{name}") for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain("", inner, place) for inner in value]
    if key not in _INTEGERS:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.5
    if isinstance(value, bool) or number != int(number) or number < 0:
        raise InvalidPipeline(f"{place} must be a whole number >= 0, got {value!r:.80}; compile the pipeline again")
    return int(number)
