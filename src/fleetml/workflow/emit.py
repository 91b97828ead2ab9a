"""A workflow as IR (PipelineSpec 2.1.0): one KFP task for each of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetml.pipeline.canonical import canonical
from fleetml.pipeline.ir import SCHEMA_VERSION
from fleetml.workflow import catalogue, flow, parameters
from fleetml.workflow.flow import Source
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.source import WORKFLOW
from fleetml.workflow.spec import Retry, Task, Workflow
from fleetml.workflow.types import CHAMPION, INPUTS, INSTALLATION, MODEL

_RUN_ID = "{{$.pipeline_job_uuid}}"


def compiled(workflow: Workflow) -> dict[str, Any]:
    """Return the PipelineSpec. Raises InvalidWorkflow for what is wrong with the workflow, with its place."""
    artifacts = flow.sources(workflow)
    flow.check_split(workflow)
    steps = {task.id: task.step for task in workflow.tasks}
    components: dict[str, Any] = {}
    executors: dict[str, Any] = {}
    tasks: dict[str, Any] = {}
    used: dict[str, set[str]] = {}
    for task in workflow.tasks:
        sources = dict(artifacts[task.id])
        if MODEL in task.kind.takes and MODEL not in sources:
            sources[MODEL] = _champion(task, workflow, tasks, components, executors, used)
        given = _inputs(task, workflow)
        _note(task, given, used)
        components[f"comp-{task.step}"] = {
            **catalogue.component(task.kind.component),
            "executorLabel": f"exec-{task.step}",
        }
        executors[f"exec-{task.step}"] = _executor(task)
        waits = sorted({*(steps[name] for name in task.dependencies), *(source.task for source in sources.values())})
        tasks[task.step] = _task(task, given, sources, waits)
    root = {"dag": {"tasks": tasks}}
    if declared := parameters.pipeline_inputs(workflow, used):
        root["inputDefinitions"] = {"parameters": declared}
    info = {"name": workflow.pipeline, "displayName": workflow.label}
    if workflow.description:
        info["description"] = workflow.description
    spec, _ = canonical(
        {
            "pipelineInfo": info,
            "root": root,
            "components": components,
            "deploymentSpec": {"executors": executors},
            "schemaVersion": SCHEMA_VERSION,
            "sdkVersion": WORKFLOW,
        },
        {},
    )
    return spec


def _inputs(task: Task, workflow: Workflow) -> dict[str, Any]:
    """Return a task's parameters in the IR's form, with what the compiler adds."""
    given = parameters.inputs(task, workflow)
    takes = catalogue.parameters(task.kind.component)
    given = {name: value for name, value in given.items() if name in takes or "--" in name}
    if "run_id" in takes:
        given["run_id"] = {"runtimeValue": {"constant": _RUN_ID}}
    if task.kind.component == "deploy" and "model_name" not in given:
        given["model_name"] = {"runtimeValue": {"constant": workflow.pipeline}}
    return given


def _note(task: Task, given: Mapping[str, Any], used: dict[str, set[str]]) -> None:
    """Remember as what each pipeline input is read; inside texts it is read as nothing in particular."""
    takes = parameters.known(task)
    for name, value in given.items():
        if refers := value.get("componentInputParameter"):
            used.setdefault(refers, set()).add(takes[name].type if name in takes else "")


def _task(task: Task, given: Mapping[str, Any], sources: Mapping[str, Source], waits: list[str]) -> dict[str, Any]:
    cached = task.kind.cached if task.cache is None else task.cache
    made: dict[str, Any] = {
        "taskInfo": {"name": task.label},
        "componentRef": {"name": f"comp-{task.step}"},
        "cachingOptions": {"enableCache": True} if cached else {},
        "inputs": {
            "parameters": dict(given),
            "artifacts": {
                INPUTS[kind]: {"taskOutputArtifact": {"producerTask": source.task, "outputArtifactKey": source.output}}
                for kind, source in sources.items()
            },
        },
    }
    made["inputs"] = {name: value for name, value in made["inputs"].items() if value}
    if waits:
        made["dependentTasks"] = waits
    if task.retry.count:
        made["retryPolicy"] = _retry(task.retry)
    return made


def _retry(retry: Retry) -> dict[str, Any]:
    return {
        "maxRetryCount": retry.count,
        "backoffDuration": f"{retry.delay:g}s",
        "backoffFactor": float(retry.factor),
        "backoffMaxDuration": f"{retry.longest:g}s",
    }


def _executor(task: Task) -> dict[str, Any]:
    """Return the component's executor with the task's resources, as kfp writes `set_cpu_limit` and the like."""
    made = catalogue.executor(task.kind.component)
    resources: dict[str, Any] = {}
    if task.cpu_cores:
        resources |= {"cpuLimit": task.cpu_cores, "resourceCpuLimit": f"{task.cpu_cores:g}"}
    if task.memory_gb:
        resources |= {"memoryLimit": task.memory_gb, "resourceMemoryLimit": f"{task.memory_gb:g}G"}
    if task.gpu_units:
        count = str(task.gpu_units)
        resources["accelerator"] = {
            "type": "nvidia.com/gpu",
            "resourceType": "nvidia.com/gpu",
            "count": count,
            "resourceCount": count,
        }
    if resources:
        made["container"]["resources"] = resources
    return made


def _champion(
    task: Task,
    workflow: Workflow,
    tasks: dict[str, Any],
    components: dict[str, Any],
    executors: dict[str, Any],
    used: dict[str, set[str]],
) -> Source:
    """Add the step that fetches the model a task names; return where its model comes from."""
    step = f"{task.step}-model"
    if step in {other.step for other in workflow.tasks}:
        raise InvalidWorkflow(f"{task.place}: the model's step is called {step!r}, as a task is; rename that task")
    every = parameters.inputs(task, workflow)
    wanted = ("model_name", *INSTALLATION[:1])
    given = {name: value for name, value in every.items() if name in wanted or "--" in name}
    _note(task, given, used)
    components[f"comp-{step}"] = {**catalogue.component(CHAMPION), "executorLabel": f"exec-{step}"}
    executors[f"exec-{step}"] = catalogue.executor(CHAMPION)
    tasks[step] = {
        "taskInfo": {"name": f"{task.label}: model"},
        "componentRef": {"name": f"comp-{step}"},
        "cachingOptions": {},
        "inputs": {"parameters": given},
    }
    return Source(step, "model")
