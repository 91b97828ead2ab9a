"""The chosen runner, and what an image is to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetml.errors import ConfigurationError
from fleetml.runners import Exit, choice
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings


class Engine:
    """A runner of containers that knows one image."""

    def run(self, command, on_line, cancel):
        return Exit(0)

    def pin(self, reference: str, local: bool) -> str:
        return f"sha256:{reference}"


def test_a_process_per_step_is_the_default(project: Settings) -> None:
    settings = replace(project, step_variables=("KEY",))
    assert choice.choose(settings, 3.0) == SubprocessRunner(("KEY",), 3.0, project.home / "environments")
    assert choice.images(settings).resolve("fleetml/ml").venv.is_dir()


def test_an_unknown_name_is_refused_with_those_there_are(project: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"subprocess.*'rocket'.*--runner or FLEETML_RUNNER"):
        choice.choose(replace(project, runner="rocket"))


def test_containers_have_container_images(project: Settings) -> None:
    image = choice.images(project, Engine()).resolve("fleetml/ml")
    assert (image.reference, image.environment_digest(), image.code_digest()) == ("fleetml/ml", "sha256:fleetml/ml", "")
