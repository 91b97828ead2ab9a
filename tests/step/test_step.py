"""One step as every engine runs it: what it hands over, what it keeps, what it says when it fails."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetml.errors import Unavailable
from fleetml.events import Event, StepEnded, StepLine, StepStarted
from fleetml.images import Images
from fleetml.pipeline import Inputs, Step
from fleetml.pipeline.model import ArtifactDefinition, Container, Parameter
from fleetml.records import Run
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings
from fleetml.step import RunContext, StepOutcome, exchange, run

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


def test_an_exception_is_told_with_file_and_line(go: Callable[..., StepOutcome], project: Settings) -> None:
    outcome = go("def work(n, data, metrics):\n    return {}[n]\n")
    assert outcome.state == "failed"
    assert outcome.failure is not None
    report = outcome.failure.report()
    assert len(report) <= 10
    assert "KeyError: 3" in report[0]
    assert "components/stage/work.py:2" in report[1]
    assert any("n=3" in line for line in report)
    assert any("again" in line for line in report)
    assert not list((project.home / "results").glob("work*/data"))


def test_a_user_s_mistake_has_no_traceback(go: Callable[..., StepOutcome]) -> None:
    outcome = go(
        "from fleetml.errors import InvalidData\ndef work(n, data, metrics):\n    raise InvalidData('column x')\n"
    )
    assert outcome.failure is not None
    assert outcome.failure.user_error
    assert "Traceback" not in Path(outcome.failure.log).read_text()
    assert outcome.failure.report()[0].endswith("column x")
    assert any("again" in line for line in outcome.failure.report())  # the data can be mended, the run resumed


def test_a_wrong_parameter_is_not_said_to_be_mended_by_resuming(go: Callable[..., StepOutcome]) -> None:
    outcome = go(
        "from fleetml.errors import InvalidParameter\ndef work(n, data, metrics):\n    raise InvalidParameter('n')\n"
    )
    assert outcome.failure is not None
    assert not any("again" in line for line in outcome.failure.report())


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def work(n, data, metrics):\n    return {'double': 1}\n", "data"),
        ("def work(n, data, metrics):\n    data.path.write_text('')\n", "double"),
        ("def work(n, data, metrics):\n    data.path.write_text('')\n    return {'double': 'two'}\n", "double"),
        ("import os\ndef work(n, data, metrics):\n    os._exit(0)\n", "double"),
        ("import os\ndef work(n, data, metrics):\n    os.kill(os.getpid(), 9)\n", "SIGKILL"),
    ],
    ids=["no artifact", "no parameter", "wrong type", "no output at all", "killed"],
)
def test_a_step_that_did_not_do_its_work_failed(go: Callable[..., StepOutcome], code: str, said: str) -> None:
    outcome = go(code)
    assert outcome.state == "failed"
    assert outcome.failure is not None
    assert said in " ".join(outcome.failure.report())


def test_an_input_too_large_for_a_command_line_names_the_largest_value(go: Callable[..., StepOutcome]) -> None:
    outcome = go(n="x" * 140_000, input_parameters={"n": Parameter("n", "STRING")})
    assert outcome.failure is not None
    assert "131,071" in outcome.failure.message
    assert "most of it in input parameter 'n'" in outcome.failure.message
    assert "artifact" in outcome.failure.message


def test_an_unknown_image_is_refused_by_name(go: Callable[..., StepOutcome]) -> None:
    outcome = go(container=Container("strange/image", ("true",)))
    assert outcome.failure is not None
    assert "strange/image" in outcome.failure.message


def test_a_full_disk_fails_the_step_and_leaves_nothing(go: Callable[..., StepOutcome], project: Settings) -> None:
    code = (
        "import resource\n"
        "def work(n, data, metrics):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "    import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    data.path.write_text('x' * 100_000)\n"
        "    return {'double': 1}\n"
    )
    outcome = go(code)
    assert outcome.state == "failed"
    assert outcome.failure is not None
    assert "File too large" in outcome.failure.report()[0]
    assert [p for p in (project.home / "results").iterdir() if not p.name.startswith(".")] == []


def test_records_of_a_run_are_json_and_readable_by_others(go: Callable[..., StepOutcome], project: Settings) -> None:
    go()
    place = project.home / "runs/run-0/steps/group/work/attempt-1.json"
    assert json.loads(place.read_text())["state"] == "succeeded"


def tail(go: Callable[..., StepOutcome], *command: str) -> list[str]:
    outcome = go(container=Container("fleetml/ml", command))
    assert outcome.failure is not None
    return outcome.failure.report()


def test_a_stranger_s_traceback_is_read_from_its_log(go: Callable[..., StepOutcome], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import json\ndef f():\n    json.loads('{')\nf()\n")
    report = tail(go, "python", str(script))
    assert report[0].startswith("step 'group/work' failed: json.decoder.JSONDecodeError: Expecting property name")
    assert report[1] == f"  at      {script}:3"


def test_an_error_without_a_message_is_its_type(go: Callable[..., StepOutcome]) -> None:
    assert tail(go, "python", "-c", "assert 1 > 2")[0] == "step 'group/work' failed: AssertionError"


def test_a_stranger_that_only_prints_shows_its_last_lines(go: Callable[..., StepOutcome]) -> None:
    report = tail(go, "sh", "-c", "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $n; done; exit 4")
    assert report[0] == "step 'group/work' failed: exit status 4"
    assert report[1:5] == [f"  | line {n}" for n in (9, 10, 11, 12)]
    assert len(report) <= 10


def test_a_long_message_is_shortened_and_its_lines_joined(go: Callable[..., StepOutcome]) -> None:
    outcome = go("def work(n, data, metrics):\n    raise ValueError('one\\ntwo ' + 'x' * 5000)\n")
    report = outcome.failure.report()  # type: ignore[union-attr]
    assert report[0].startswith("step 'group/work' failed: ValueError: one two xxx")
    assert len(report[0]) < 500


def test_an_argument_too_long_for_the_system_is_refused(go: Callable[..., StepOutcome]) -> None:
    assert "131,071" in tail(go, "echo", "x" * 140_000)[0]


def test_what_the_system_refuses_is_a_failed_step(go: Callable[..., StepOutcome], project: Settings) -> None:
    project.home.mkdir()
    (project.home / "results").write_text("a file where the folder should be")
    outcome = go()
    assert outcome.failure is not None
    assert (outcome.state, outcome.failure.type) == ("failed", "Unavailable")
    assert "results" in outcome.failure.message


def test_a_mistake_of_ours_is_a_failed_step_with_the_traceback_in_its_log(
    go: Callable[..., StepOutcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetml.step.exchange.read_outputs", lambda *known: {}["oops"])
    outcome = go()
    assert outcome.failure is not None
    assert "internal error of FleetML" in outcome.failure.message
    assert "KeyError: 'oops'" in Path(outcome.failure.log).read_text()


def test_a_step_without_a_record_is_an_error(go: Callable[..., StepOutcome], project: Settings) -> None:
    project.home.mkdir()
    (project.home / "runs").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="records must be writable"):
        go()


@pytest.mark.parametrize(
    "written",
    [
        "not JSON",
        "[1]",
        "\xff",
        '{"parameterValues": 5}',
        '{"artifacts": {"data": []}}',
        '{"artifacts": {"data": {"artifacts": {"a": 1}}}}',
        '{"artifacts": {"data": {"artifacts": ["x"]}}}',
        '{"artifacts": {"data": {"artifacts": [{"uri": 5}]}}}',
        '{"artifacts": {"data": {"artifacts": [{"metadata": [1]}]}}}',
    ],
)
def test_an_executor_output_that_is_none_is_refused(go: Callable[..., StepOutcome], written: str) -> None:
    code = (
        "import pathlib, sys, json\n"
        "def work(n, data, metrics):\n"
        "    place = json.loads(sys.argv[2])['outputs']['outputFile']\n"
        f"    pathlib.Path(place).parent.mkdir(exist_ok=True); pathlib.Path(place).write_text({written!r}, 'latin-1')\n"
        "    import os; os._exit(0)\n"
    )
    outcome = go(code)
    assert outcome.failure is not None
    assert "executor_output.json must be" in outcome.failure.message
    assert outcome.failure.user_error


def test_output_parameters_may_be_files(go: Callable[..., StepOutcome]) -> None:
    command = ("sh", "-c", 'echo 12 > "$0"; echo x > "$1"', "{{$.outputs.parameters['double'].output_file}}")
    container = Container("fleetml/ml", command, ("{{$.outputs.artifacts['data'].path}}",))
    outcome = go(container=container)
    assert (outcome.state, outcome.parameters) == ("succeeded", {"double": 12})


@pytest.mark.parametrize("folder", [False, True])
def test_an_artifact_written_to_a_path_of_the_author_s_is_brought_home(
    go: Callable[..., StepOutcome], tmp_path: Path, folder: bool
) -> None:
    """As kfp's executor tells of it after ``artifact.set_path(…)``."""
    own = tmp_path / "own"
    code = (
        "import json, os, pathlib, sys\n"
        "def work(n, data, metrics):\n"
        f"    own = pathlib.Path({str(own)!r})\n"
        f"    file = own / 'f' if {folder} else own\n"
        "    file.parent.mkdir(exist_ok=True); file.write_text('mine')\n"
        "    said = {'parameterValues': {'double': 2}, 'artifacts': {'data': {'artifacts': [{'custom_path': str(own)}]}}}\n"
        "    place = pathlib.Path(json.loads(sys.argv[2])['outputs']['outputFile'])\n"
        "    place.parent.mkdir(exist_ok=True); place.write_text(json.dumps(said)); os._exit(0)\n"
    )
    outcome = go(code)
    (data,) = outcome.artifacts["data"]
    assert not data["uri"].startswith(str(own))
    assert (Path(data["uri"]) / ("f" if folder else "")).read_text() == "mine"


@pytest.mark.parametrize("uri", ["/etc", "data.csv", "file:///etc/hosts", ""])
def test_an_output_that_is_said_to_lie_elsewhere_is_refused(go: Callable[..., StepOutcome], uri: str) -> None:
    outcome = go(GOOD.replace('data.path.write_text("x" * n)', f"data.uri = {uri!r} or 'x'"))
    assert outcome.failure is not None
    assert "lies where the step was told to write it, output artifact 'data'" in outcome.failure.message


def test_paths_that_a_step_tells_are_those_of_the_published_result(go: Callable[..., StepOutcome]) -> None:
    code = (
        "def work(n, data, metrics):\n"
        "    data.path.mkdir(); (data.path / 'f').write_text('x')\n"
        "    data.metadata['where'] = str(data.path / 'f')\n"
        "    return {'double': str(data.path)}\n"
    )
    outcome = go(code, output_parameters={"double": Parameter("double", "STRING")})
    (data,) = outcome.artifacts["data"]
    assert outcome.parameters["double"] == data["uri"]
    assert Path(data["metadata"]["where"]).read_text() == "x"


def test_what_json_lacks_in_metadata_is_written_as_protojson_does(go: Callable[..., StepOutcome]) -> None:
    code = GOOD.replace("metrics.log(", "metrics.log(nothing=float('nan'), far=float('inf'), ")
    assert go(code).figures == {"nothing": "NaN", "far": "Infinity", "size": 3}


def test_an_artifact_in_a_remote_store_is_not_cached(go: Callable[..., StepOutcome]) -> None:
    code = GOOD.replace('data.path.write_text("x" * n)', "data.uri = 's3://bucket/key'")
    first, second = go(code), go(code)
    assert first.artifacts["data"][0]["uri"] == "s3://bucket/key"
    assert not second.cached


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


@pytest.mark.parametrize(("uri", "seen"), [("file:///a/b", "/a/b"), ("/a/b", "/a/b"), ("s3://a/b", "s3://a/b")])
def test_a_file_url_is_a_path_to_a_step(uri: str, seen: str, tmp_path: Path) -> None:
    """KFP's executor takes the URI of an artifact as its path, unless it is one of a remote store."""
    given = step("m:work", input_artifacts={"model": ArtifactDefinition("model", "system.Model")})
    document = exchange.executor_input(given, Inputs({}, {"model": [{"uri": uri}]}), tmp_path)
    assert document["inputs"]["artifacts"]["model"]["artifacts"][0]["uri"] == seen
