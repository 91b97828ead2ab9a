"""The step of a task that is no sub-DAG, and the steps that bring in what a whole pipeline is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetml.errors import InvalidPipeline, UnsupportedConstruct
from fleetml.frozen import replace
from fleetml.pipeline import definitions, placeholders, platform
from fleetml.pipeline.definitions import Interface
from fleetml.pipeline.model import (
    ArtifactDefinition,
    Container,
    Importer,
    Parameter,
    PipelineInput,
    Retry,
    Step,
    StepOutput,
)
from fleetml.pipeline.tasks import TaskSpec
from fleetml.pipeline.wiring import Ports, Typed, named, resource_inputs


def step(task: TaskSpec, executors: Mapping[str, Any], settings: Mapping[str, Any], retry: Retry) -> Step:
    """Return a task's step; `settings` are what it asks of its cluster. Raises InvalidPipeline, UnsupportedConstruct."""
    declared, label = task.declared, task.component["executorLabel"]
    _require_single_outputs(task)
    at = f"deploymentSpec.executors.{label}"
    executor = named(label, executors, f"components.{task.component_name}.executorLabel", "executor")
    importer = definitions.importer(executor, at)
    container, operation = platform.operation(Container("") if importer else definitions.container(executor, at))
    _check_placeholders(container, importer, declared, at)
    caching = task.spec.get("cachingOptions", {})
    made = Step(
        **task.common,
        component=task.component_name.removeprefix("comp-"),
        container=container,
        importer=importer,
        parameters={n: t.source for n, t in task.ports.parameters.items() if n in declared.input_parameters},
        artifacts={n: t.source for n, t in task.ports.artifacts.items()},
        platform={**settings, **operation},
        resource_inputs=resource_inputs(container.resources, task.ports, at),
        input_parameters=declared.input_parameters,
        input_artifacts=declared.input_artifacts,
        output_parameters=declared.output_parameters,
        output_artifacts=declared.output_artifacts,
        retry=retry,
        cache_key=caching.get("cacheKey", ""),
    )
    cacheable = caching.get("enableCache", False) and not (importer or operation or placeholders.run_specific(made))
    return replace(made, cacheable=cacheable)


def outputs(step: Step) -> Ports:
    """Return what a step gives to others."""
    return Ports(
        {n: Typed(StepOutput(step.name, n), p.type) for n, p in step.output_parameters.items()},
        {n: Typed(StepOutput(step.name, n), a.type, a.many) for n, a in step.output_artifacts.items()},
    )


def bringing_in(name: str, artifact: ArtifactDefinition) -> Step:
    """Return the step that brings in an artifact a whole pipeline is given, from the URI in its parameter of that name."""
    told = f"URI of the {artifact.type}: a path on this machine or a URL. {artifact.description}".strip()
    return Step(
        name=import_step(name),
        label=f"import {name}",
        component="importer",
        container=Container(""),
        importer=Importer(parameter=name),
        parameters={name: PipelineInput(name)},
        input_parameters={name: Parameter(name, "STRING", optional=artifact.optional, description=told)},
        output_artifacts={name: artifact},
        cacheable=False,
    )


def import_step(artifact: str) -> str:
    """Return the name of the step that brings an artifact of the pipeline in."""
    return f"import-{artifact}".replace("_", "-")


def _require_single_outputs(task: TaskSpec) -> None:
    for name, artifact in task.declared.output_artifacts.items():
        if artifact.many:
            raise UnsupportedConstruct(
                f"components.{task.component_name}.outputDefinitions.artifacts.{name}: lists of artifacts as output of "
                "one step are not run yet; write one artifact, or loop and collect"
            )


def _check_placeholders(container: Container, importer: Importer | None, declared: Interface, at: str) -> None:
    try:
        placeholders.check_container(container, declared.declared())
        if importer and len(declared.output_artifacts) != 1:
            raise InvalidPipeline("an importer gives one artifact; compile again")
        if importer:
            placeholders.check_constant(dict(importer.metadata), declared.input_parameters)
            if importer.parameter:
                named(importer.parameter, declared.input_parameters, f"{at}.importer.artifactUri", "input parameter")
    except InvalidPipeline as error:
        raise type(error)(f"{at}: {error}") from None
