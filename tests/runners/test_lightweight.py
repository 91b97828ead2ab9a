"""The start of a lightweight component of the KFP SDK, as kfp compiled it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fleetml.images import Images
from fleetml.runners import Command, lightweight
from fleetml.settings import Settings

PIPELINES = Path(__file__).parents[1] / "pipelines"


@pytest.fixture
def command(project: Settings) -> Command:
    executors = yaml.safe_load((PIPELINES / "strangers.yaml").read_text())["deploymentSpec"]["executors"]
    words = executors["exec-add"]["container"]["command"]
    return Command(
        (*words[:3], "code = 'häß'\n", "--executor_input", "{}"), Images(project.project).resolve("fleetml/ml")
    )


def test_python_is_started_at_once_on_the_code(command: Command, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    direct, env = lightweight.direct(command, {"WORD": "a"}, tmp_path)
    assert direct.argv[:4] == ("python3", "-m", "kfp.dsl.executor_main", "--component_module_path")
    assert Path(direct.argv[4]).read_text() == "code = 'häß'\n"
    assert direct.argv[5:] == ("--executor_input", "{}")
    assert env == {"WORD": "a", "_KFP_RUNTIME": "true"}


def test_any_other_script_is_left_to_the_shell(command: Command, tmp_path: Path) -> None:
    argv = command.argv
    for other in (
        ("sh", "-ec", argv[2] + "\necho more\n", *argv[3:]),
        ("bash", *argv[1:]),
        ("sh", "-c", *argv[2:]),
        argv[:3],
    ):
        left = replace(command, argv=other)
        assert lightweight.direct(left, {"WORD": "a"}, tmp_path) == (left, {"WORD": "a"})
