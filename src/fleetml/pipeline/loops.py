"""Loops: what a loop's task goes over, what one iteration gets, and what all of them gave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fleetml.errors import InvalidPipeline
from fleetml.frozen import frozen
from fleetml.pipeline.definitions import Interface
from fleetml.pipeline.model import (
    ITEMS,
    ArtifactDefinition,
    Collected,
    Constant,
    Container,
    Item,
    Loop,
    Parameter,
    Source,
    StepOutput,
)
from fleetml.pipeline.values import as_text
from fleetml.pipeline.wiring import Ports, Typed, constant, fitted, named


@frozen
class Iterator:
    """What a loop goes over: literal items (`raw`), or the list that comes in by the task's input `source`.

    `item` is the input of the sub-DAG that gets one of them; `parallelism` how many go on at once, 0: all.
    """

    item: str
    artifacts: bool = False
    raw: tuple[Any, ...] | None = None
    source: str = ""
    parallelism: int = 0


def iterator(task: Mapping[str, Any], place: str) -> Iterator | None:
    """Return the iterator of a task, None for one that is no loop. Raises InvalidPipeline."""
    kinds = [kind for kind in ("parameterIterator", "artifactIterator") if kind in task]
    if not kinds:
        return None
    if len(kinds) == 2:
        raise InvalidPipeline(f"{place}: a loop goes over parameters or artifacts, not both; compile again")
    spec, limit = task[kinds[0]], task.get("iteratorPolicy", {}).get("parallelismLimit", 0)
    if limit < 0 or limit != int(limit):
        raise InvalidPipeline(f"{place}.iteratorPolicy.parallelismLimit must be a whole number >= 0, got {limit!r}")
    items, at = spec.get("items", {}), f"{place}.{kinds[0]}.items"
    if "raw" in items:
        return Iterator(spec.get("itemInput", ""), raw=_literal(items["raw"], at), parallelism=int(limit))
    source = items.get("inputParameter") or items.get("inputArtifact")
    if not source:
        raise InvalidPipeline(f"{at}: a loop needs items, got {sorted(items)}; compile again")
    return Iterator(spec.get("itemInput", ""), kinds[0] == "artifactIterator", None, source, int(limit))


def _literal(text: str, place: str) -> tuple[Any, ...]:
    try:
        items = json.loads(text)
    except ValueError as error:
        raise InvalidPipeline(f"{place}.raw must be a JSON list, got {text[:80]!r}: {error}; compile again") from None
    if not isinstance(items, list):
        raise InvalidPipeline(f"{place}.raw must be a JSON list, got {text[:80]!r}; compile again")
    return tuple(items)


def items_of(over: Iterator, ports: Ports, known: Sequence[Any] | None, place: str) -> Sequence[Any] | None:
    """Return the items as far as they are known: literal, constant, or told by the run (`known`); None if not."""
    if over.raw is not None:
        return over.raw
    found = _source(over, ports, place)
    if isinstance(found, Constant):
        if not isinstance(found.value, list):
            raise InvalidPipeline(f"{place}: a loop goes over a list, got {found.value!r:.80}; mend pipeline.py")
        return found.value
    return known


def iteration(over: Iterator, index: int, item: Any, declared: Interface, ports: Ports, place: str) -> Ports:
    """Return what iteration `index` gets: what the loop gets, and its item."""
    if over.artifacts:
        entry = Typed(Item(_source(over, ports, place), index), declared.input_artifacts[over.item].type)
        return Ports(ports.parameters, {**ports.artifacts, over.item: entry})
    at = f"{place}: item {index}"
    parameter = declared.input_parameters[over.item]
    if parameter.type == "STRING" and not isinstance(item, str):
        item = as_text(item)  # declared so where the list's author told no more of its items
    told: Source = constant(item, ports.parameters, at) if over.raw is not None else Constant(item)
    one = fitted(parameter, Typed(told), at)
    return Ports({**ports.parameters, over.item: one}, ports.artifacts)


def collected(declared: Interface, made: Sequence[Ports]) -> Ports:
    """Return the outputs of a loop: of each output what every iteration gave."""
    return Ports(
        {
            n: Typed(Collected(tuple(ports.parameters[n].source for ports in made)), "LIST")
            for n in declared.output_parameters
        },
        {
            n: Typed(Collected(tuple(ports.artifacts[n].source for ports in made)), a.type, many=True)
            for n, a in declared.output_artifacts.items()
        },
    )


def pending(
    over: Iterator, declared: Interface, ports: Ports, common: Mapping[str, Any], place: str
) -> tuple[Loop, Ports]:
    """Return the loop as one step, and its outputs, which are there once it is unfolded or done as a whole."""
    literal = constant(list(over.raw), ports.parameters, place) if over.raw is not None else None
    source = literal or _source(over, ports, place)
    loop = Loop(
        **common,
        component="loop",
        container=Container(""),
        parameters={} if over.artifacts else {ITEMS: source},
        artifacts={ITEMS: source} if over.artifacts else {},
        input_parameters={} if over.artifacts else {ITEMS: Parameter(ITEMS, "LIST")},
        input_artifacts={ITEMS: ArtifactDefinition(ITEMS, "system.Artifact", many=True)} if over.artifacts else {},
        cacheable=False,
        parallelism=over.parallelism,
    )
    outputs = Ports(
        {n: Typed(StepOutput(loop.name, n), "LIST") for n in declared.output_parameters},
        {n: Typed(StepOutput(loop.name, n), a.type, many=True) for n, a in declared.output_artifacts.items()},
    )
    return loop, outputs


def _source(over: Iterator, ports: Ports, place: str) -> Source:
    entries = ports.artifacts if over.artifacts else ports.parameters
    found: Typed = named(over.source, entries, place, "input of the loop")
    return found.source
