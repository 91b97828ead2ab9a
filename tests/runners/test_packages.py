"""Packages that components install themselves, as the KFP SDK writes them."""

from __future__ import annotations

import os
import threading
import zipfile
from pathlib import Path

import pytest

from fleetml.errors import ConfigurationError
from fleetml.images import Images
from fleetml.runners import Command
from fleetml.runners.packages import Packages, split
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings


def compiled(**known: object) -> tuple[str, ...]:
    dsl = pytest.importorskip("kfp.dsl")

    @dsl.component(base_image="python:3.11", **known)
    def add():
        print(1)

    container = add.component_spec.implementation.container
    return (*container.command, *container.args)


def test_what_only_installs_the_sdk_itself_needs_nothing() -> None:
    command = compiled()
    assert "pip install" in command[2]
    assert split(command) == (None, command[3:])
    assert command[3:5] == ("sh", "-ec")


@pytest.mark.parametrize("venv", [False, True])
def test_what_a_component_asks_for_is_found(venv: bool) -> None:
    command = compiled(
        packages_to_install=["left-pad==1", "kfp-kubernetes>=2; python_version > '3'"],
        pip_index_urls=["https://index.example/simple"],
        use_venv=venv,
    )
    packages, own = split(command)
    assert packages is not None
    assert packages.requirements == ("left-pad==1", "kfp-kubernetes>=2; python_version > '3'")
    assert packages.options[:2] == ("--index-url", "https://index.example/simple")
    assert own == command[3:]


@pytest.mark.parametrize(
    "argv",
    [
        ("sh", "-ec", 'python -m pip install x && "$0" "$@"', "sh"),
        ("sh", "-c", "pip install x && run"),
        ("python", "-c", "print('pip install x')", "y", "z"),
    ],
)
def test_an_author_s_own_command_stays_as_it_is(argv: tuple[str, ...]) -> None:
    assert split(argv) == (None, argv)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one package, which is all that pip can see."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "leftpad-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("leftpad.py", "def pad(): return 'padded'\n")
        wheel.writestr("leftpad-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: leftpad\nVersion: 1.0\n")
        wheel.writestr("leftpad-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("leftpad-1.0.dist-info/RECORD", "leftpad.py,,\n")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


class Go:
    def __init__(self, project: Settings, environments: Path | None) -> None:
        self.image = Images(project.project).resolve("fleetml/ml")
        self.runner = SubprocessRunner(environments=environments)
        self.lines: list[str] = []
        self.cancel = threading.Event()

    def __call__(self, packages: str, code: str = "import leftpad, psutil; print(leftpad.pad())"):
        wrapper = f'python3 -m pip install --quiet {packages} && "$0" "$@"\n'
        command = Command(("sh", "-c", wrapper, "python", "-c", code), self.image)
        return self.runner.run(command, self.lines.append, self.cancel)


@pytest.fixture
def go(project: Settings, wheels: Path, tmp_path: Path) -> Go:
    return Go(project, tmp_path / "environments")


def test_they_come_into_an_environment_beside_the_image_s_once(go: Go, tmp_path: Path) -> None:
    first, second = go("'leftpad==1.0'"), go("'leftpad==1.0'")
    assert first.succeeded
    assert second.succeeded
    assert first.usage.cpu_seconds > 2 * second.usage.cpu_seconds  # who installs them pays for it
    assert [line for line in go.lines if "padded" in line] == ["padded", "padded"]
    assert sum("installing leftpad==1.0" in line for line in go.lines) == 1
    (stamp,) = (tmp_path / "environments").glob("*/finished.json")
    stamp.unlink()  # one whose building was interrupted is built anew
    (stamp.parent / "lib").rename(stamp.parent / "lost")
    assert go("'leftpad==1.0'").succeeded
    assert go.lines.count("padded") == 3


def test_what_cannot_be_had_is_named_and_nothing_is_left(go: Go, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere==1 could not be: No matching distribution.*lock of image"):
        go("nowhere==1")
    assert [path for path in (tmp_path / "environments").iterdir() if path.is_dir()] == []


def test_a_cancel_while_they_are_installed_ends_the_step(go: Go, tmp_path: Path) -> None:
    go.cancel.set()
    assert go("leftpad").ended == "cancelled"
    assert [path for path in (tmp_path / "environments").iterdir() if path.is_dir()] == []


def test_without_a_place_for_them_they_are_refused(project: Settings, wheels: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"leftpad.*lock of image 'fleetml/ml'"):
        Go(project, None)("leftpad")


def test_the_digest_is_that_of_what_is_asked_for() -> None:
    assert Packages(("a",)).digest != Packages(("a",), ("--index-url", "x")).digest != Packages(("b",)).digest
