"""What a component declares: typed inputs and outputs, its container, its retries."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from fleetml.errors import InvalidParameter, InvalidPipeline, UnsupportedConstruct
from fleetml.frozen import field, frozen, replace
from fleetml.pipeline.model import ArtifactDefinition, Container, Importer, Parameter, Resources, Retry
from fleetml.pipeline.values import ABSENT, EXPECTED, as_text, cast

_VARIABLE = r"[^=\0]+\Z"
_NOT_RUN = {"TASK_CONFIG": "task configuration (dsl.TaskConfig)"}


@frozen
class Interface:
    """The inputs and outputs of a component."""

    input_parameters: Mapping[str, Parameter] = field(default_factory=dict)
    input_artifacts: Mapping[str, ArtifactDefinition] = field(default_factory=dict)
    output_parameters: Mapping[str, Parameter] = field(default_factory=dict)
    output_artifacts: Mapping[str, ArtifactDefinition] = field(default_factory=dict)

    def without_input(self, name: str) -> Interface:
        """Return the interface without one input: what a loop's task is given, for the items come one by one."""
        return replace(
            self,
            input_parameters={n: p for n, p in self.input_parameters.items() if n != name},
            input_artifacts={n: a for n, a in self.input_artifacts.items() if n != name},
        )

    def declared(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        """Return the definitions as `placeholders.check_container` asks for them."""
        return {
            ("inputs", "parameters"): self.input_parameters,
            ("inputs", "artifacts"): self.input_artifacts,
            ("outputs", "parameters"): self.output_parameters,
            ("outputs", "artifacts"): self.output_artifacts,
        }


def interface(component: Mapping[str, Any], place: str) -> Interface:
    """Return what `component` declares. Raises InvalidPipeline for a default that does not fit its type."""
    inputs, outputs = component.get("inputDefinitions", {}), component.get("outputDefinitions", {})
    return Interface(
        {n: _parameter(n, spec, f"{place}.{n}") for n, spec in inputs.get("parameters", {}).items()},
        {n: _artifact(n, spec) for n, spec in inputs.get("artifacts", {}).items()},
        {n: _parameter(n, spec, f"{place}.{n}") for n, spec in outputs.get("parameters", {}).items()},
        {n: _artifact(n, spec) for n, spec in outputs.get("artifacts", {}).items()},
    )


def _parameter(name: str, spec: Mapping[str, Any], place: str) -> Parameter:
    kind: Any = spec.get("parameterType")
    if kind == "TASK_FINAL_STATUS":
        kind = "STRUCT"
    if kind in _NOT_RUN:
        raise UnsupportedConstruct(f"{place}: {_NOT_RUN[kind]} is not run yet; take it out of the pipeline")
    if kind not in EXPECTED:
        raise InvalidPipeline(
            f"{place}: parameterType must be one of {', '.join(EXPECTED)}, got {kind!r}; compile again"
        )
    default, literals = spec.get("defaultValue"), spec.get("literals", [])
    try:
        default = ABSENT if default is None else cast(default, kind, "its default")
        literals = tuple(cast(value, kind, "each literal") for value in literals)
    except InvalidParameter as error:
        raise InvalidPipeline(f"{place}: {error}; mend the component") from None
    return Parameter(name, kind, default, spec.get("isOptional", False), spec.get("description", ""), literals)


def _artifact(name: str, spec: Mapping[str, Any]) -> ArtifactDefinition:
    kind = spec.get("artifactType", {})
    return ArtifactDefinition(
        name,
        kind.get("schemaTitle", "system.Artifact"),
        kind.get("schemaVersion", "0.0.1"),
        spec.get("isOptional", False),
        spec.get("description", ""),
        spec.get("isArtifactList", False),
    )


def container(executor: Mapping[str, Any], place: str) -> Container:
    """Return what an executor runs. Raises InvalidPipeline where it holds no container or image."""
    spec = executor.get("container", {})
    if not spec.get("image"):
        raise InvalidPipeline(f"{place}: an executor must hold a container with an image, got {sorted(executor)}")
    for entry in spec.get("env", ()):
        if not re.match(_VARIABLE, entry.get("name", "")):
            raise InvalidPipeline(
                f"{place}: an environment variable has a name without '=', got {entry.get('name', '')!r}; rename it"
            )
    return Container(
        spec["image"],
        tuple(spec.get("command", ())),
        tuple(spec.get("args", ())),
        {entry["name"]: entry.get("value", "") for entry in spec.get("env", ())},
        _resources(spec.get("resources", {})),
    )


def importer(executor: Mapping[str, Any], place: str) -> Importer | None:
    """Return the importer an executor is, None for others. Raises InvalidPipeline, UnsupportedConstruct."""
    if "importer" not in executor:
        return None
    spec = executor["importer"]
    uri = spec.get("artifactUri", {})
    if len(uri) != 1:
        raise InvalidPipeline(f"{place}.importer.artifactUri must hold a constant or a runtimeParameter, got {uri}")
    return Importer(uri.get("constant", ""), uri.get("runtimeParameter", ""), spec.get("metadata", {}))


def _resources(spec: Mapping[str, Any]) -> Resources:
    """Return the texts the author wrote; IRs of old compilers hold cores and gigabytes as numbers."""
    accelerator = spec.get("accelerator", {})

    def stated(text: str, number: str, unit: str = "") -> str:
        return spec.get(text) or (f"{as_text(float(spec[number]))}{unit}" if spec.get(number) else "")

    return Resources(
        stated("resourceCpuRequest", "cpuRequest"),
        stated("resourceCpuLimit", "cpuLimit"),
        stated("resourceMemoryRequest", "memoryRequest", "G"),
        stated("resourceMemoryLimit", "memoryLimit", "G"),
        accelerator.get("resourceType") or accelerator.get("type", ""),
        accelerator.get("resourceCount") or str(accelerator.get("count", "")),
    )


def retry(spec: Mapping[str, Any], place: str) -> Retry:
    """Return a task's retries; durations are texts of seconds ("30s")."""
    count = spec.get("maxRetryCount", 0)
    if count < 0 or count != int(count):
        raise InvalidPipeline(f"{place}.maxRetryCount must be a whole number >= 0, got {count!r}; use set_retry(n)")
    return Retry(
        int(count),
        _seconds(spec.get("backoffDuration", "0s"), place),
        float(spec.get("backoffFactor") or 2.0),
        _seconds(spec.get("backoffMaxDuration", "3600s"), place),
    )


def _seconds(text: str, place: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidPipeline(f'{place}: a duration must be seconds like "30s", got {text!r}; compile again')
    return seconds
