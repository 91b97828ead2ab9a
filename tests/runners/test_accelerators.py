"""Steps that ask for GPUs, on machines that have some and on those that have none."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fleetml.errors import ConfigurationError
from fleetml.images import Images
from fleetml.pipeline.model import Resources
from fleetml.runners import Command, accelerators
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The devices of a machine with two GPUs."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "null"):
        (tmp_path / name).touch()
    monkeypatch.setattr(accelerators, "DEVICES", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("count", "wanted"), [("", 0), ("0", 0), ("1", 1), ("2", 2)])
def test_what_the_machine_has_is_given(machine: Path, count: str, wanted: int) -> None:
    kind = "nvidia.com/gpu"
    assert accelerators.require(Resources(accelerator_type=kind, accelerator_count=count), "step 'a'") == wanted


@pytest.mark.parametrize(
    ("kind", "count", "said"),
    [
        ("nvidia.com/gpu", "3", r"step 'a' asks for 3 GPUs .*this machine has 2"),
        ("tpu-v3", "1", "asks for 1 tpu-v3, and only NVIDIA's"),
        ("", "many", "got 'many'"),
    ],
)
def test_what_it_has_not_is_refused(machine: Path, kind: str, count: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        accelerators.require(Resources(accelerator_type=kind, accelerator_count=count), "step 'a'")


def test_a_step_that_asks_for_a_gpu_does_not_run_without_one(project: Settings, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(accelerators, "DEVICES", tmp_path)
    image = Images(project.project).resolve("fleetml/ml")
    command = Command(("python", "-c", "print(1)"), image, resources=Resources(accelerator_count="1"))
    lines: list[str] = []
    with pytest.raises(ConfigurationError, match="this machine has none"):
        SubprocessRunner().run(command, lines.append, threading.Event())
    assert lines == []
