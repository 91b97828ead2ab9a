"""Secrets of a step: found where the engine has them, and then nowhere but in the step's environment."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fleetml import secrets
from fleetml.errors import ConfigurationError
from fleetml.events import Event, StepLine
from fleetml.pipeline import Inputs
from fleetml.pipeline.model import ArtifactDefinition, Parameter
from fleetml.records import Run
from fleetml.report import page
from fleetml.runners.choice import choose, images
from fleetml.settings import Settings
from fleetml.step import RunContext, StepOutcome, run
from tests.step.conftest import step

SECRET = "tr0ub'4dor&3 x"
ASKED = [{"secretName": "my-db", "keyToEnv": [{"secretKey": "pass.word", "envVar": "DB_PASSWORD"}]}]
PRINTS = """
import base64, os, sys, urllib.parse
def work(n, data):
    secret = os.environ["DB_PASSWORD"]
    print(secret, repr(secret), urllib.parse.quote(secret), base64.b64encode(b"u:" + secret.encode()).decode())
    print(f"{secret[:6]}\\n{secret[6:]}", file=sys.stderr)
    data.path.write_text(str(len(secret)))
"""

RETURN = "    return {'said': None}\n"


@pytest.fixture
def go(project: Settings, stage: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., StepOutcome]:
    """Return a function that runs a step with this code and what it asks for; it hears the events, too."""
    monkeypatch.setenv("FLEETML_SECRET_MY_DB_PASS_WORD", SECRET)

    def go(code: str, asked: Any = ASKED, hear: Callable[[Event], None] = lambda event: None) -> StepOutcome:
        made = step(
            f"{stage(code + RETURN)}:work",
            output_parameters={"said": Parameter("said", "STRING", optional=True)},
            output_artifacts={"data": ArtifactDefinition("data", "system.Dataset")},
        )
        runner = choose(project)
        context = RunContext("r", "p", project, images(project, runner), 0.0)
        records = Run(project.home, "r")
        records.start({"pipeline": "p", "steps": [made.name], "parameters": {}})
        inputs = Inputs({"n": 1}, {}, platform={"secretAsEnv": asked})
        outcome = run(made, inputs, context, runner, hear)
        records.finish(outcome.state)
        page.write(records)
        return outcome

    return go


def written(folder: Path) -> str:
    """All that stands in the files below a folder, and their names."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(f"{path}\n{path.read_bytes().decode(errors='replace')}" for path in files)


def holds(text: str) -> bool:
    encoded = base64.b64encode(b"u:" + SECRET.encode()).decode()
    return any(form in text for form in (SECRET, SECRET[6:], repr(SECRET)[1:-1], quote(SECRET), encoded[4:-4]))


def test_a_step_gets_its_secret_and_nothing_tells_it(
    go: Callable[..., StepOutcome], project: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    outcome = go(PRINTS, hear=lambda event: lines.append(event.line) if isinstance(event, StepLine) else None)
    assert outcome.state == "succeeded"
    assert Path(outcome.artifacts["data"][0]["uri"]).read_text() == str(len(SECRET))
    assert lines[0].split() == ["***"] * 4 or lines[0].count("***") == 4
    for told in (written(project.home), "\n".join(lines), *capfd.readouterr(), repr(outcome)):
        assert not holds(told)


def test_credentials_that_steps_get_by_name_are_hidden_too(
    stage: Callable[[str], str], project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "pass/9word")
    monkeypatch.setenv("PGUSER", "somebody")
    settings = replace(project, step_variables=("PGPASSWORD", "PGUSER"))
    code = "import os\ndef work(n):\n    print(os.environ['PGUSER'], os.environ['PGPASSWORD'])\n"
    made = step(f"{stage(code)}:work", output_parameters={}, output_artifacts={})
    runner = choose(settings)
    outcome = run(made, Inputs({"n": 1}, {}), RunContext("r", "p", settings, images(settings, runner), 0.0), runner)
    assert outcome.state == "succeeded"
    log = Run(settings.home, "r").log(made.name)
    assert log is not None
    assert log.read_text() == "somebody ***\n"


def test_a_failure_does_not_tell_it(go: Callable[..., StepOutcome], project: Settings) -> None:
    outcome = go(PRINTS + '    raise ValueError(f"cannot log in with {secret}")\n')
    assert outcome.failure is not None
    assert outcome.failure.message == "cannot log in with ***"
    assert not holds(written(project.home))
    assert "Traceback" in Path(outcome.failure.log).read_text()


LEAKS = {
    "parameter": ("    return {'said': 'it is ' + secret}\n", "output parameter 'said'"),
    "metadata": ("    data.metadata['user'] = {'a': [secret]}\n", "metadata of output artifact 'data'"),
    "file": ("    data.path.write_text('x' * 9 + secret)\n", "the file"),
    "folder": (
        "    data.path.unlink(); data.path.mkdir(); (data.path / 'f').write_bytes(b'\\0' + secret.encode())\n",
        "data/f",
    ),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_an_output_that_holds_it_fails_the_step(go: Callable[..., StepOutcome], project: Settings, leak: str) -> None:
    code, place = LEAKS[leak]
    outcome = go(PRINTS + code)
    assert outcome.failure is not None
    assert "none may hold a secret" in outcome.failure.message
    assert place in outcome.failure.message
    assert outcome.failure.user_error
    assert not holds(written(project.home))


def test_outputs_that_are_broken_are_not_quoted_where_they_hold_it(
    go: Callable[..., StepOutcome], project: Settings
) -> None:
    code = "    import json, pathlib; place = pathlib.Path(json.loads(sys.argv[2])['outputs']['outputFile'])\n"
    code += "    place.parent.mkdir(exist_ok=True); place.write_text('x' * 70 + secret); os._exit(0)\n"
    outcome = go(PRINTS + code)
    assert outcome.failure is not None
    assert "the file executor_output.json" in outcome.failure.message
    assert SECRET[:4] not in written(project.home)


@pytest.mark.parametrize("optional", [False, True])
def test_a_missing_secret_is_refused_before_the_step_starts(
    go: Callable[..., StepOutcome], project: Settings, optional: bool
) -> None:
    asked = [{**ASKED[0], "secretName": "other", "optional": optional}]
    outcome = go("import os\ndef work(n, data):\n    data.path.write_text(str('DB_PASSWORD' in os.environ))\n", asked)
    if optional:
        assert Path(outcome.artifacts["data"][0]["uri"]).read_text() == "False"
    else:
        assert outcome.failure is not None
        assert "FLEETML_SECRET_OTHER_PASS_WORD" in outcome.failure.message
        assert "Connection 'other'" in outcome.failure.message
        assert (outcome.failure.type, outcome.usage.cpu_seconds) == ("ConfigurationError", 0.0)


def test_a_mistake_of_ours_does_not_tell_it(
    go: Callable[..., StepOutcome], project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*known: object) -> None:
        raise RuntimeError(f"oops {SECRET}")

    monkeypatch.setattr("fleetml.step.exchange.read_outputs", fail)
    assert go(PRINTS).state == "failed"
    assert not holds(written(project.home))


def test_passwords_in_parameters_are_hidden_in_the_attempt(go: Callable[..., StepOutcome], project: Settings) -> None:
    outcome = go("def work(n, data):\n    raise ValueError('no answer from postgresql://u:pass99@h/db')\n", [])
    assert outcome.failure is not None
    assert outcome.failure.message == "no answer from postgresql://u:***@h/db"
    assert "pass99" not in written(project.home)


def test_values_that_are_names_by_their_keys() -> None:
    pairs = [{"secretKey": key, "envVar": key.upper()} for key in ("Username", "password")]
    assert secrets.names([{"keyToEnv": pairs}], {"USERNAME": "jo", "PASSWORD": "x"}) == ["jo"]


def test_names_of_variables() -> None:
    assert secrets.variable("my-db", "pass.word") == "FLEETML_SECRET_MY_DB_PASS_WORD"


TWICE = [
    {"secretName": "a-b", "keyToEnv": [{"secretKey": "c", "envVar": "ONE"}]},
    {"secretName": "a", "keyToEnv": [{"secretKey": "b_c", "envVar": "TWO"}]},
]


def test_one_variable_is_not_taken_for_two_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETML_SECRET_A_B_C", "value")
    with pytest.raises(ConfigurationError, match="FLEETML_SECRET_A_B_C would be key 'c' of 'a-b' and key 'b_c' of 'a'"):
        secrets.delivered(TWICE, secrets.from_environment, "s")
    assert secrets.delivered(TWICE[:1] * 2, secrets.from_environment, "s") == {"ONE": "value"}


def test_two_secrets_may_share_a_variable_that_is_not_set() -> None:
    found = secrets.delivered(TWICE, lambda secret, keys: dict.fromkeys(keys, secret), "s")
    assert found == {"ONE": "a-b", "TWO": "a"}


def test_a_secret_that_is_too_short_to_be_hidden_is_told(
    go: Callable[..., StepOutcome], project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETML_SECRET_MY_DB_PASS_WORD", "x1z")
    monkeypatch.setenv("FLEETML_SECRET_MY_DB_USERNAME", "jo")
    pairs = [*ASKED[0]["keyToEnv"], {"secretKey": "username", "envVar": "DB_USER"}]
    outcome = go("def work(n, data):\n    data.path.touch()\n", [{"secretName": "my-db", "keyToEnv": pairs}])
    assert outcome.state == "succeeded"
    log = Run(project.home, "r").log("group/work")
    assert log is not None
    assert log.read_text().splitlines() == [
        "fleetml: DB_PASSWORD holds a secret of fewer than 4 characters, which is not hidden; take a longer one"
    ]


def test_a_secret_that_no_variable_can_hold_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="holds no NUL"):
        secrets.delivered(ASKED, lambda secret, keys: {"pass.word": "a\0b"}, "s")
