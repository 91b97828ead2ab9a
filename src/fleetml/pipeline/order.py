"""What runs before what, and whether it runs: order, conditions, skips and failures across sub-DAGs.

A task that depends on a sub-DAG waits for all steps in it. It is skipped if the sub-DAG as a whole was
skipped (its own condition is false, or what it depends on was skipped), not if something inside a
sub-DAG that did run was skipped. It is upstream-failed if any step in the sub-DAG failed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import cached_property

from fleetml.errors import InvalidPipeline
from fleetml.frozen import replace
from fleetml.pipeline import platform
from fleetml.pipeline.model import Decision, Group, Guard, Step, Task
from fleetml.pipeline.sources import FAILED, Run, missing, producers
from fleetml.pipeline.values import ABSENT

_RUN = Decision("run")
MOST_EDGES = 5_000_000  # what follows them takes some hundred bytes for each


class Graph:
    """The steps and sub-DAGs of a plan."""

    def __init__(self, steps: Mapping[str, Step], groups: Mapping[str, Group]) -> None:
        self.steps = steps
        self.groups = groups
        # By sub-DAG or step, each looked for once:
        self._reads: dict[str, tuple[str, ...]] = {}
        self._awaits: dict[str, tuple[str, ...]] = {}
        self._outer: dict[str, tuple[str, ...]] = {}

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.steps)}

    def around(self, step: Step) -> list[Task]:
        """Return the step's sub-DAGs, outermost first, then the step itself."""
        return [*(self.groups[name] for name in step.group), step]

    def decide(self, step: Step, run: Run) -> Decision:
        for task in self.around(step):
            decision = self._own(task, run)
            if decision.action != "run":
                return decision
        name = missing(step, run)
        return Decision("skip", f"its input {name!r} comes from a step that was skipped") if name else _RUN

    def _own(self, task: Task, run: Run) -> Decision:
        """Decide a step or sub-DAG by its own dependencies and condition, not by what is around it."""
        states = {name: self._state(name, run) for name in task.dependencies}
        if not task.ignores_failure:
            for name, state in states.items():
                if state in FAILED:
                    return Decision("upstream_failed", f"{name} {state.replace('_', ' ')}")
            for name, state in states.items():
                if state == "skipped":
                    return Decision("skip", f"{name} was skipped")
        return _guarded(task.guard, run) if task.guard else _RUN

    def _state(self, name: str, run: Run) -> str:
        """Return the state of a step, or what a sub-DAG as a whole came to."""
        if name in self.steps:
            return run.state(name)
        if name not in run.groups:
            run.groups[name] = self._group_state(self.groups[name], run)
        return run.groups[name]

    def _group_state(self, group: Group, run: Run) -> str:
        decision = self._own(group, run)
        if decision.action != "run":
            return "skipped" if decision.action == "skip" else "upstream_failed"
        return "failed" if any(run.state(step) in FAILED for step in group.steps) else "succeeded"

    def edges(self, step: Step) -> Step:
        """Return the step with `upstream`, `reads` and `runs_after_failure` filled.

        The edges are those of the innermost level that has any: what an outer sub-DAG waits for, its
        first steps wait for, and the others come after them.
        """
        level = next((task for task in reversed(self.around(step)) if task.dependencies), step)
        values = (*step.parameters.values(), *step.artifacts.values(), *step.resource_inputs.values())
        own = dict.fromkeys([*self._read_by(step), *producers([*values, *platform.read(step.platform)])])
        return replace(
            step,
            upstream=self._upstream(level),
            runs_after_failure=level.ignores_failure,
            reads=self._with(self._around_reads(step.group), own),
        )

    def _upstream(self, level: Task) -> tuple[str, ...]:
        """Return what a task's dependencies come to; steps that wait for the same share it, there may be thousands of both."""
        if level.name not in self._awaits:
            waits = (leaf for name in level.dependencies for leaf in self._awaited(name, level))
            self._awaits[level.name] = tuple(dict.fromkeys(waits))
        return self._awaits[level.name]

    def _around_reads(self, groups: tuple[str, ...]) -> tuple[str, ...]:
        """Return the steps that are read for the sake of the sub-DAGs around a step, in order; its neighbours share them."""
        if not groups:
            return ()
        if groups[-1] not in self._outer:
            found = dict.fromkeys(name for group in groups for name in self._read_by(self.groups[group]))
            self._outer[groups[-1]] = tuple(sorted(found, key=self._positions.__getitem__))
        return self._outer[groups[-1]]

    def _with(self, known: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
        """Return steps in order, with more of them; the same tuple where there are none."""
        position = self._positions.__getitem__
        found: list[str] | None = None
        for name in more:
            at = bisect_left(known if found is None else found, position(name), key=position)
            if at < len(found or known) and (found or known)[at] == name:
                continue
            found = [*known] if found is None else found
            found.insert(at, name)
        return known if found is None else tuple(found)

    def _leaves(self, name: str) -> tuple[str, ...]:
        return (name,) if name in self.steps else self.groups[name].steps

    def _awaited(self, name: str, level: Task) -> list[str]:
        """Return the steps of a task that must be over; after a failure the last ones do not tell of those beside it."""
        ends = self._ends(name)
        return [*self._leaves(name), *ends] if level.ignores_failure else ends

    def _ends(self, name: str) -> list[str]:
        """Return the leaves of a task whose end means that all its leaves are over and tells their failure."""
        leaves = self._leaves(name)
        if not leaves:  # a loop over nothing is over when what it waits for is
            return [end for before in self.groups[name].dependencies for end in self._ends(before)]
        passed = {
            before for leaf in leaves if not self.steps[leaf].runs_after_failure for before in self.steps[leaf].upstream
        }
        return [leaf for leaf in leaves if leaf not in passed]

    def _read_by(self, task: Task) -> list[str]:
        """Return the steps whose outcomes the task's own decision needs."""
        found = list(producers(task.guard.inputs.values())) if task.guard else []
        for name in task.dependencies:
            found.extend(self._leaves(name))
            if name in self.groups:
                if name not in self._reads:
                    self._reads[name] = tuple(dict.fromkeys(self._read_by(self.groups[name])))
                found.extend(self._reads[name])
        return found


def with_edges(steps: Mapping[str, Step], groups: Mapping[str, Group]) -> dict[str, Step]:
    """Return the steps, in the same topological order, with their edges. Raises InvalidPipeline for too many of them."""
    done = dict(steps)
    graph, edges = Graph(done, groups), 0
    for name, step in steps.items():
        done[name] = graph.edges(step)
        edges += len(done[name].upstream)
        if edges > MOST_EDGES:
            raise InvalidPipeline(
                f"the steps of a pipeline wait for each other at most {MOST_EDGES:,} times, with step '{name}' it is more; "
                "put one step between sub-DAGs or loops with thousands of steps, so that not each waits for each"
            )
    return done


def _guarded(guard: Guard, run: Run) -> Decision:
    values = {}
    for name, source in guard.inputs.items():
        value = run.typed(source, guard.types[name], f"condition {guard.condition}: {name!r}")
        if value is not ABSENT:
            values[name] = value
    if guard.condition.evaluate(values):
        return _RUN
    return Decision("skip", f"{guard.condition} is false: {guard.condition.reading(values)}")
