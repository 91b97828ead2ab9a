"""What every engine must make of a pipeline: final states and outputs, from KFP's semantics and not from our output.

Steps are named as in the plan. A step that is not named must have succeeded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetml.pipeline import load
from fleetml.pipeline.model import Loop

PIPELINES = Path(__file__).parents[1] / "pipelines"


@dataclass(frozen=True)
class Case:
    """One run: its final state, the steps that did not succeed, and output parameters of steps that did.

    `iterations` are the steps of loops whose list only the run makes.
    """

    name: str
    pipeline: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    state: str = "succeeded"
    others: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    iterations: tuple[str, ...] = ()

    @property
    def steps(self) -> dict[str, str]:
        """The states that all steps must have in the end."""
        known = [name for name, step in load(self.path).steps.items() if not isinstance(step, Loop)]
        return {step: self.others.get(step, "succeeded") for step in (*known, *self.iterations)}

    @property
    def path(self) -> Path:
        return PIPELINES / f"{self.pipeline}.yaml"


_BIG = ("condition-branches-1/condition-2/echo", "condition-branches-1/condition-2/draw")
_QUOTE = ("condition-branches-1/condition-3/echo-2", "condition-branches-1/condition-3/draw-2")
_OTHER = ("condition-branches-1/condition-4/echo-3", "condition-branches-1/condition-4/draw-3")
_HEADS = ("condition-5/echo-5", "condition-5/condition-6/echo-6")
_TAILS = ("condition-7/echo-7",)


def _skipped(*groups: tuple[str, ...]) -> dict[str, str]:
    return {step: "skipped" for group in groups for step in group}


CASES = [
    Case(
        "if: the first branch holds",
        "branches",
        {"size": 11},
        others=_skipped(_QUOTE, _OTHER, _TAILS),
        outputs={"condition-branches-1/condition-2/echo.out": "big", "echo-4.out": "big", "read.out": "big"},
    ),
    Case(
        "elif: a text with a quote",
        "branches",
        others=_skipped(_BIG, _OTHER, _TAILS),
        outputs={"echo-4.out": "quote", "read.out": "quote", "flip.result": True},
    ),
    Case(
        "else, and the name of the run's pipeline",
        "branches",
        {"word": "plain"},
        others=_skipped(_BIG, _QUOTE, _TAILS),
        outputs={"echo-4.out": "branches", "read.out": "other"},
    ),
    Case(
        "a condition on a step's output that does not hold skips nested conditions too",
        "branches",
        {"heads": False},
        others=_skipped(_BIG, _OTHER, _HEADS),
        outputs={"condition-7/echo-7.out": "tails"},
    ),
    Case(
        "an inner condition that does not hold skips only what is in it",
        "branches",
        {"floor": 0.1},
        others=_skipped(_BIG, _OTHER, _TAILS, (_HEADS[1],)),
        outputs={"condition-5/echo-5.out": "heads"},
    ),
    Case(
        "sub-pipelines: an absent value takes the inner default, a skip inside skips nothing after it",
        "nested",
        others=_skipped(("inner/condition-1/echo-2", "middle/inner/condition-1/echo-2")),
        outputs={"middle/inner/echo.out": "<w>", "echo-2.out": "<w>+plain"},
    ),
    Case(
        "a condition inside a sub-pipeline on a parameter handed in",
        "nested",
        {"times": 6, "word": "v"},
        others=_skipped(("middle/inner/condition-1/echo-2",)),
        outputs={"echo-2.out": "<v>+plain", "inner/condition-1/echo-2.out": "often"},
    ),
    Case("every type of parameter and artifact", "types"),
    Case(
        "a failed step fails the run; what ignores failures still runs",
        "cleanup",
        state="failed",
        others={"fail": "failed", "echo": "upstream_failed"},
    ),
    Case(
        "loops: literals, a list made in the run, in loops, in sub-pipelines, under conditions; what they leave collected",
        "loop",
        others={"many/for-loop-1/0/condition-2/echo": "skipped"},
        iterations=tuple(f"for-loop-4/{i}/for-loop-5/{j}/echo-3" for i in range(2) for j in range(2)),
        outputs={
            "for-loop-2/1/echo.out": "y",
            "total.out": '["x","y"]',
            "for-loop-4/1/echo-2.out": "q",
            "total-2.out": '[["0","1"],["0","1"]]',
            "many/for-loop-1/1/condition-2/echo.out": "b",
            "many/join.out": "a+b",
        },
    ),
    Case(
        "a loop over a list that turns out empty",
        "loop",
        {"n": 0},
        others={"many/for-loop-1/0/condition-2/echo": "skipped"},
        outputs={"total-2.out": "[[],[]]"},
    ),
    Case(
        "a failed iteration fails the loop; the others go on, what follows does not run",
        "loop_fails",
        state="failed",
        others={
            "for-loop-1/0/refuse-zero": "failed",
            "for-loop-1/0/echo": "upstream_failed",
            "total": "upstream_failed",
        },
        iterations=tuple(f"for-loop-1/{index}/{step}" for index in range(2) for step in ("refuse-zero", "echo")),
        outputs={"for-loop-1/1/echo.out": "1"},
    ),
    Case(
        "an exit handler is told of success",
        "exit_handler",
        outputs={"tell.Output": "exit-handler-1 SUCCEEDED: None"},
    ),
    Case(
        "an exit handler runs after a failure and is told of it; the run has failed",
        "exit_handler",
        {"number": 0},
        state="failed",
        others={"exit-handler-1/refuse-zero": "failed", "exit-handler-1/echo": "upstream_failed"},
        outputs={"tell.Output": "exit-handler-1 FAILED: exit-handler-1/refuse-zero failed"},
    ),
    Case(
        "an importer brings in what is there",
        "importer",
        {"uri": str(PIPELINES / "imported.txt")},
        outputs={"read.out": "brought in"},
    ),
    Case(
        "an importer of what is not there fails",
        "importer",
        {"uri": str(PIPELINES / "not-there.txt")},
        state="failed",
        others={"importer": "failed", "read": "upstream_failed"},
    ),
    Case(
        "the artifacts a whole pipeline is given, one of them optional",
        "given",
        {"data": str(PIPELINES / "imported.txt")},
        outputs={"read.out": "brought in", "has.out": "not given"},
    ),
    Case(
        "an optional artifact of the pipeline that is given",
        "given",
        {"data": str(PIPELINES / "imported.txt"), "more": str(PIPELINES / "imported.txt")},
        outputs={"has.out": "given"},
    ),
    Case(
        "retries of a sub-pipeline are those of its tasks; the steps of a run share its workspace",
        "retried",
        others=_skipped(("inside/condition-1/fail",)),
        outputs={"inside/second-time.out": "the second time", "echo.out": "after"},
    ),
]
