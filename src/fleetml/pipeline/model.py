"""The values a plan is made of: parameters, sources, conditions, containers, steps and groups.

Names of steps are the task names from the root inwards, joined by ``/``
("condition-branches-1/condition-3/use"); names of groups (sub-DAGs) are made the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from fleetml.frozen import field, frozen
from fleetml.pipeline.values import ABSENT

if TYPE_CHECKING:
    from fleetml.pipeline.conditions import Condition

ParameterType = Literal["STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT"]
Outcome = Mapping[str, Any]  # the JSON form of docs/adr/0001: state, cached, parameters, artifacts


@frozen
class Parameter:
    """A typed parameter; `default` is `ABSENT` where there is none. Optional ones may stay absent.

    `literals`, where there are any, are the only values it may take.
    """

    name: str
    type: ParameterType
    default: Any = ABSENT
    optional: bool = False
    description: str = ""
    literals: tuple[Any, ...] = ()

    @property
    def required(self) -> bool:
        return self.default is ABSENT and not self.optional


@frozen
class ArtifactDefinition:
    """A typed artifact; `type` is the schema title ("system.Dataset"), `version` its schema version.

    `many`: a list of such artifacts.
    """

    name: str
    type: str
    version: str = "0.0.1"
    optional: bool = False
    description: str = ""
    many: bool = False


@frozen
class Constant:
    """A value written in the IR."""

    value: Any


@frozen
class PipelineInput:
    """The run's parameter `name`; `default` is what an enclosing sub-DAG declares where the run gives none."""

    name: str
    default: Any = ABSENT


@frozen
class StepOutput:
    """Output `output` (a parameter or an artifact) of the step `step`."""

    step: str
    output: str


@frozen
class Selected:
    """The entry `key` of a STRUCT (the IR's ``parseJson`` selector)."""

    source: Source
    key: str


@frozen
class Template:
    """A constant with placeholders: ``{{$.inputs.parameters['x']}}`` is `inputs['x']`, others name the run."""

    value: Any
    inputs: Mapping[str, Source]


@frozen
class OneOf:
    """The first of `sources` whose step succeeded (``dsl.OneOf``: the branch that ran)."""

    sources: tuple[Source, ...]


@frozen
class Item:
    """Entry `index` of a list of artifacts (what one iteration of a loop gets)."""

    source: Source
    index: int


@frozen
class Collected:
    """One output of every iteration of a loop, in order; iterations that left none are left out.

    A list of parameters' values (of loops in loops: of lists); artifacts are one flat list.
    """

    sources: tuple[Source, ...]


@frozen
class FinalStatus:
    """How the task `task` (of the leaves `steps`) ended, as an exit handler is told (``dsl.PipelineTaskFinalStatus``)."""

    task: str
    steps: tuple[str, ...]


@frozen
class Absent:
    """An optional input that was not given."""


Source = Constant | PipelineInput | StepOutput | Selected | Template | OneOf | Item | Collected | FinalStatus | Absent


@frozen
class Guard:
    """A condition, where the values it reads come from, and the types they were declared with ("" for none)."""

    condition: Condition
    inputs: Mapping[str, Source]
    types: Mapping[str, str]


@frozen
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


@frozen
class Container:
    """What runs: command, args and env values are texts with placeholders; Concat and IfPresent are JSON texts."""

    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = Resources()


@frozen
class Importer:
    """Brings in an artifact from outside as it stands: no process, no copy.

    Its URI is `uri`, or the input parameter `parameter` (where that is not given, it brings in nothing); `metadata` may
    hold placeholders.
    """

    uri: str = ""
    parameter: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@frozen
class Retry:
    """At most `count` further attempts; waits of `delay` seconds, times `factor` each, at most `longest`."""

    count: int = 0
    delay: float = 0.0
    factor: float = 2.0
    longest: float = 3600.0


@frozen(kw_only=True)
class Task:
    """What a step and a sub-DAG have in common.

    `group` holds the sub-DAGs around it by full name, outermost first. `dependencies` are the tasks
    beside it that come before (full names of steps or groups). `ignores_failure`: it also runs when
    they failed or were skipped (the IR's ALL_UPSTREAM_TASKS_COMPLETED).
    """

    name: str
    label: str
    group: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    guard: Guard | None = None
    ignores_failure: bool = False

    @property
    def task(self) -> str:
        """Its name inside its own sub-DAG."""
        return self.name.rsplit("/", 1)[-1]


@frozen(kw_only=True)
class Group(Task):
    """One sub-DAG: nested pipeline, branch or set of branches, loop, or one iteration of a loop.

    `steps` are all leaves in it, at any depth. Of a loop: how many iterations may go on at once (`parallelism`; 0: all),
    and what it collects (`parameters`, `artifacts`).
    """

    steps: tuple[str, ...] = ()
    parallelism: int = 0
    parameters: Mapping[str, Source] = field(default_factory=dict)
    artifacts: Mapping[str, Source] = field(default_factory=dict)


@frozen(kw_only=True)
class Step(Task):
    """One leaf task.

    `platform` is what it asks of its cluster, by feature, with Sources in it (`pipeline.platform`).
    `parameters` and `artifacts` say where each input comes from; `input_parameters` …
    `output_artifacts` what they are. `upstream` are the steps that must be over before it is decided
    (what an engine draws as edges); they may have failed where `runs_after_failure`. `reads` are all
    steps whose outcomes `Plan.decide` and `Plan.resolve` look at, every one of them an ancestor.
    `cacheable` is already false where a run-specific placeholder makes a result worth nothing to another run;
    `cache_key` is the author's own, which stands for all that the result depends on.
    """

    component: str
    container: Container
    importer: Importer | None = None
    parameters: Mapping[str, Source] = field(default_factory=dict)
    artifacts: Mapping[str, Source] = field(default_factory=dict)
    resource_inputs: Mapping[str, Source] = field(default_factory=dict)
    input_parameters: Mapping[str, Parameter] = field(default_factory=dict)
    input_artifacts: Mapping[str, ArtifactDefinition] = field(default_factory=dict)
    output_parameters: Mapping[str, Parameter] = field(default_factory=dict)
    output_artifacts: Mapping[str, ArtifactDefinition] = field(default_factory=dict)
    platform: Mapping[str, Any] = field(default_factory=dict)
    upstream: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    runs_after_failure: bool = False
    cacheable: bool = True
    cache_key: str = ""
    retry: Retry = Retry()


ITEMS = "items"


@frozen(kw_only=True)
class Loop(Step):
    """A loop whose list only the run makes. It is nothing to execute: once it is decided to run, its one input, `ITEMS`,
    is what `Plan.unfold` wants to put the iterations in its place. One that is skipped stays what it is.
    `parallelism` as of its `Group`.
    """

    parallelism: int = 0


@frozen
class Inputs:
    """Concrete inputs of a step: parameter values by name, each artifact's list of entries, the resources.

    `platform` is what it asks of its cluster, as `Step.platform` with values in the place of the Sources.
    """

    parameters: dict[str, Any]
    artifacts: dict[str, list[dict[str, Any]]]
    resources: Resources = Resources()
    platform: Mapping[str, Any] = field(default_factory=dict)


@frozen
class Decision:
    """What to do with a step whose upstream is over: "run", "skip" or "upstream_failed", and why (not for run)."""

    action: Literal["run", "skip", "upstream_failed"]
    reason: str = ""
