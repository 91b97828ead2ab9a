"""What a step that failed says, whoever is at fault, and what it leaves: nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.errors import Unavailable
from fleetml.pipeline.model import Container, Parameter
from fleetml.settings import Settings
from fleetml.step import StepOutcome


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
