"""One step, run as every engine runs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from fleetml.images import Images
from fleetml.pipeline import Inputs, Step
from fleetml.pipeline.model import ArtifactDefinition, Container, Parameter
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings
from fleetml.step import RunContext, StepOutcome, run

GOOD = """
def work(n, data, metrics):
    data.path.write_text("x" * n)
    data.metadata["n"] = n
    metrics.log(size=n, twice=2 * n, thrice=3 * n, more=4)
    return {"double": 2 * n}
"""


def step(entry: str, **changed: Any) -> Step:
    known: dict[str, Any] = {
        "name": "group/work",
        "label": "Work",
        "component": "comp-work",
        "container": Container("fleetml/ml", ("python", "-m", "fleetml.component", entry), ("{{$}}",)),
        "input_parameters": {"n": Parameter("n", "NUMBER_INTEGER")},
        "output_parameters": {"double": Parameter("double", "NUMBER_INTEGER")},
        "output_artifacts": {
            "data": ArtifactDefinition("data", "system.Dataset"),
            "metrics": ArtifactDefinition("metrics", "system.Metrics"),
        },
    }
    return Step(**{**known, **changed})


@pytest.fixture
def go(project: Settings, stage: Callable[[str], str]) -> Callable[..., StepOutcome]:
    """Return a function that runs one step with this code, each time as a run of its own."""
    count = iter(range(100))

    def go(code: str = GOOD, n: Any = 3, caching: bool = True, **changed: Any) -> StepOutcome:
        entry = f"{stage(code)}:work"
        context = RunContext(
            f"run-{next(count)}", "p", project, Images(project.project), time.time(), caching=caching, resume="again"
        )
        return run(step(entry, **changed), Inputs({"n": n}, {}), context, SubprocessRunner())

    return go
