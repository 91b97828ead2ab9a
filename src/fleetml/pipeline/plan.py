"""The plan: what an IR document means, as frozen values that every engine renders and asks.

Names of steps are the task names from the root inwards, joined by ``/``
("condition-branches-1/condition-3/use"); names of groups (sub-DAGs) are made the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fleetml.pipeline.values import ABSENT

ParameterType = Literal["STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT"]
Outcome = Mapping[str, Any]  # the JSON form of docs/adr/0001: state, cached, parameters, artifacts


@dataclass(frozen=True)
class Parameter:
    """A typed parameter; `default` is `ABSENT` where there is none. Optional ones may stay absent."""

    name: str
    type: ParameterType
    default: Any = ABSENT
    optional: bool = False
    description: str = ""

    @property
    def required(self) -> bool:
        return self.default is ABSENT and not self.optional


@dataclass(frozen=True)
class ArtifactDefinition:
    """A typed artifact; `type` is the schema title ("system.Dataset"), `version` its schema version."""

    name: str
    type: str
    version: str = "0.0.1"
    optional: bool = False
    description: str = ""


@dataclass(frozen=True)
class Constant:
    """A value written in the IR, or a default of a sub-DAG; may hold run placeholders (`render_value`)."""

    value: Any


@dataclass(frozen=True)
class PipelineInput:
    """The run's parameter or artifact `name`; `default` is what enclosing sub-DAGs declare if it is absent."""

    name: str
    default: Any = ABSENT


@dataclass(frozen=True)
class StepOutput:
    """Output `output` of `step`; `key` picks one entry of a STRUCT (the IR's ``parseJson`` selector)."""

    step: str
    output: str
    key: str | None = None


@dataclass(frozen=True)
class Template:
    """A constant that refers to other inputs: `{{$.inputs.parameters['x']}}` is replaced by `inputs['x']`."""

    value: Any
    inputs: Mapping[str, Source]


@dataclass(frozen=True)
class OneOf:
    """The first of `sources` whose step succeeded (``dsl.OneOf``: the branch that ran)."""

    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Absent:
    """An optional input that was not given."""


Source = Constant | PipelineInput | StepOutput | Template | OneOf | Absent


@dataclass(frozen=True)
class Guard:
    """A condition in the IR's CEL subset, and where the values it reads come from."""

    expression: str
    inputs: Mapping[str, Source]


@dataclass(frozen=True)
class Resources:
    """Requests and limits as written: cores ("500m"), memory ("2Gi"), accelerator; "" where not stated.

    In a `Step` each may hold placeholders; `Plan.resolve` returns them as concrete texts.
    """

    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    accelerator_type: str = ""
    accelerator_count: str = ""


@dataclass(frozen=True)
class Container:
    """What runs: entries of command and args are strings with placeholders, or Concat/IfPresent structures."""

    image: str
    command: tuple[Any, ...] = ()
    args: tuple[Any, ...] = ()
    env: Mapping[str, Any] = field(default_factory=dict)
    resources: Resources = Resources()


@dataclass(frozen=True)
class Retry:
    """At most `count` further attempts; waits of `delay` seconds, times `factor` each, at most `longest`."""

    count: int = 0
    delay: float = 0.0
    factor: float = 2.0
    longest: float = 3600.0


@dataclass(frozen=True)
class Step:
    """One leaf task.

    `group` holds its sub-DAGs by full name, outermost first. `parameters` and `artifacts` say where
    each input comes from, `input_parameters` … `output_artifacts` what they are. `upstream` are the
    steps that must be over before it is decided (what an engine draws as edges); `reads` are all steps
    whose outcomes `Plan.decide` and `Plan.resolve` look at (every one of them an ancestor).
    `runs_after_failure`: its direct upstream may have failed. `cacheable` is already false where a
    run-specific placeholder makes a result worth nothing to another run.
    """

    name: str
    label: str
    component: str
    container: Container
    group: tuple[str, ...] = ()
    parameters: Mapping[str, Source] = field(default_factory=dict)
    artifacts: Mapping[str, Source] = field(default_factory=dict)
    input_parameters: Mapping[str, Parameter] = field(default_factory=dict)
    input_artifacts: Mapping[str, ArtifactDefinition] = field(default_factory=dict)
    output_parameters: Mapping[str, Parameter] = field(default_factory=dict)
    output_artifacts: Mapping[str, ArtifactDefinition] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    guards: tuple[Guard, ...] = ()
    runs_after_failure: bool = False
    cacheable: bool = True
    retry: Retry = Retry()

    @property
    def task(self) -> str:
        """Its name inside its own sub-DAG."""
        return self.name.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Group:
    """One sub-DAG: nested pipeline, branch or set of branches. `steps` are all leaves in it, at any depth.

    `dependencies` are tasks beside it (full names of steps or groups).
    """

    name: str
    label: str
    parent: str = ""
    steps: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    guard: Guard | None = None
    runs_after_failure: bool = False


@dataclass(frozen=True)
class Inputs:
    """Concrete inputs of a step: parameter values by name, each artifact's list of entries, the resources."""

    parameters: dict[str, Any]
    artifacts: dict[str, list[dict[str, Any]]]
    resources: Resources = Resources()


@dataclass(frozen=True)
class Decision:
    """What to do with a step whose upstream is over: "run", "skip" or "upstream_failed", and why (not for run)."""

    action: Literal["run", "skip", "upstream_failed"]
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """A pipeline, expanded to leaf steps in topological order (the order of `steps`).

    `digest` is the SHA-256 of the IR's canonical JSON. `outputs` are the pipeline's own outputs.
    """

    name: str
    digest: str
    inputs: Mapping[str, Parameter]
    steps: Mapping[str, Step]
    groups: Mapping[str, Group] = field(default_factory=dict)
    outputs: Mapping[str, Source] = field(default_factory=dict)
    label: str = ""
    description: str = ""

    def bind(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the run's parameters: checked, cast by declared type, defaults filled.

        Raises InvalidParameter naming the parameter (and the closest name for an unknown one).
        """
        raise NotImplementedError

    def parse(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Return parameters given as text (``-p name=text``), each parsed by its declared type.

        Raises InvalidParameter.
        """
        raise NotImplementedError

    def decide(self, step: str, bound: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> Decision:
        """Say whether `step` runs, once everything in its `upstream` is over.

        `outcomes` holds at least the steps of `reads`; an absent one counts as pending.
        """
        raise NotImplementedError

    def resolve(
        self, step: str, bound: Mapping[str, Any], outcomes: Mapping[str, Outcome], names: Mapping[str, str]
    ) -> Inputs:
        """Return the concrete inputs of a step that `decide` lets run; `names` as in `placeholders`.

        Raises InvalidPipeline where a value does not fit its declared type or a producer left none.
        """
        raise NotImplementedError

    def resolve_outputs(self, bound: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
        """Return the pipeline's own outputs that exist: parameter values, or lists of artifact entries."""
        raise NotImplementedError
