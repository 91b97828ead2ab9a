"""One step as every engine runs it: what it hands over, what it keeps, what it says when it fails."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetml.events import Event, StepEnded, StepLine, StepStarted
from fleetml.images import Images
from fleetml.pipeline import Inputs
from fleetml.pipeline.model import Parameter
from fleetml.records import Run
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings
from fleetml.step import RunContext, StepOutcome, run
from tests.step.conftest import GOOD, step


def test_outputs_are_kept_with_digest_and_metadata(go: Callable[..., StepOutcome], project: Settings) -> None:
    outcome = go()
    assert (outcome.state, outcome.cached, outcome.parameters) == ("succeeded", False, {"double": 6})
    (data,) = outcome.artifacts["data"]
    assert Path(data["uri"]).read_text() == "xxx"
    assert data["metadata"] == {"n": 3}
    assert data["type"] == "system.Dataset"
    assert outcome.figures == {"size": 3, "twice": 6, "thrice": 9}
    record = Run(project.home, "run-0").attempts("group/work")[0]
    assert record.outcome == outcome.to_json()
    assert record.cost["cpu_seconds"] > 0


def test_the_same_step_again_is_a_hit(go: Callable[..., StepOutcome]) -> None:
    first, second = go(), go()
    assert (first.cached, second.cached) == (False, True)
    assert second.to_json()["artifacts"] == first.to_json()["artifacts"]


@pytest.mark.parametrize(
    "change",
    [{"n": 4}, {"code": GOOD + "# changed"}, {"caching": False}, {"cacheable": False}],
    ids=["parameter", "code", "run without cache", "step without cache"],
)
def test_what_may_change_the_result_is_no_hit(go: Callable[..., StepOutcome], change: dict[str, Any]) -> None:
    go()
    assert not go(**change).cached


def test_a_name_or_label_changes_nothing(go: Callable[..., StepOutcome]) -> None:
    go()
    assert go(name="other", label="Other", component="comp-other").cached


def test_a_damaged_result_is_no_hit(go: Callable[..., StepOutcome]) -> None:
    place = Path(go().artifacts["data"][0]["uri"])
    place.parent.chmod(0o755)
    place.chmod(0o644)
    place.write_text("tampered")
    again = go()
    assert not again.cached
    assert Path(again.artifacts["data"][0]["uri"]).read_text() == "xxx"


def test_shared_code_and_lock_are_part_of_the_key(go: Callable[..., StepOutcome], project: Settings) -> None:
    go()
    (project.project / "shared.py").write_text("new = 1")
    assert not go().cached


def test_records_of_a_run_are_json_and_readable_by_others(go: Callable[..., StepOutcome], project: Settings) -> None:
    go()
    place = project.home / "runs/run-0/steps/group/work/attempt-1.json"
    assert json.loads(place.read_text())["state"] == "succeeded"


def test_lineage_gets_a_digest_of_environment_and_code(go: Callable[..., StepOutcome]) -> None:
    code = (
        "import os\n"
        "def work(n, data, metrics):\n    data.path.write_text('')\n"
        "    return {'double': os.environ['FLEETML_CODE_DIGEST']}\n"
    )
    known = {"output_parameters": {"double": Parameter("double", "STRING")}}
    first = go(code, **known).parameters["double"]
    assert len(first) == 64
    assert go(code + "# changed", **known).parameters["double"] != first


def test_a_step_s_progress_is_told_as_it_goes(project: Settings, stage: Callable[[str], str], tmp_path: Path) -> None:
    """The step waits for the answer to its line, so the line came while it ran."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    code = GOOD.replace(
        "    data.path", f"    print('ready', flush=True); open({str(gate)!r}).read()\n    data.path", 1
    )
    context = RunContext("r", "p", project, Images(project.project), time.time())
    heard: list[Event] = []

    def hear(event: Event) -> None:
        heard.append(event)
        if isinstance(event, StepLine) and event.line == "ready":
            assert Run(project.home, "r").attempts("group/work")[0].state == "running"
            gate.write_text("go on")

    outcome = run(step(f"{stage(code)}:work"), Inputs({"n": 1}, {}), context, SubprocessRunner(), hear)
    assert outcome.state == "succeeded"
    assert [type(event) for event in heard] == [StepStarted, StepLine, StepEnded]
    assert (project.home / "runs/r/steps/group/work/attempt-1.log").read_text() == "ready\n"
