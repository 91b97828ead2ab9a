"""Set-up, with a uv that notes what it is asked and makes what a venv needs: the network is not what is tested."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fleetml.errors import Unavailable
from fleetml.stack import environments
from fleetml.stack.environments import STAMP, main

ROOT = Path(__file__).parents[2]
UV = """#!/bin/sh
[ "$1" = --quiet ] && shift
echo "$*" >> "$UV_CALLS"
case "$1 $2" in
  "--version ") echo "uv 0.13.0"; exit;;
  "venv "*) for venv; do :; done; rm -rf "$venv"; mkdir -p "$venv/bin"; : > "$venv/bin/python";;
  "pip sync") [ -z "$UV_FAILS" ] || { echo "no space left on device" >&2; exit 2; };;
esac
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a checkout with spaces"
    (folder / "images" / "ml").mkdir(parents=True)
    (folder / "images" / "images.toml").write_text(
        '[images."fleetml/ml"]\nvenv = ".venv/ml"\nlocks = ["images/ml/requirements.txt", "images/ml/torch.txt"]\n'
    )
    for lock in ("requirements.txt", "torch.txt", "dev.txt"):
        (folder / "images" / "ml" / lock).write_text(f"{lock}==1\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "uv").write_text(UV)
    (tools / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("UV_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("UV_FIND_LINKS", "")
    monkeypatch.chdir(folder)
    return folder


def _calls(tmp_path: Path) -> list[str]:
    place = tmp_path / "calls"
    found = place.read_text().splitlines() if place.exists() else []
    place.unlink(missing_ok=True)
    return [call for call in found if not call.startswith("--version")]


def test_a_first_set_up_builds_and_a_second_reuses(project, tmp_path, capsys):
    assert main([]) == 0
    made = _calls(tmp_path)
    assert [" ".join(call.split()[:2]) for call in made] == ["venv --clear", "pip sync", "pip install"]
    assert "images/ml/requirements.txt images/ml/torch.txt" in made[1]
    assert "dev.txt" not in made[1]
    assert "--no-deps" in made[2]
    capsys.readouterr()
    assert main([]) == 0
    assert _calls(tmp_path) == []
    assert capsys.readouterr().err == "environments: unchanged\n"


def test_a_changed_lock_is_synced_into_the_same_environment(project, tmp_path):
    main([])
    _calls(tmp_path)
    (project / "images" / "ml" / "requirements.txt").write_text("requirements==2\n")
    assert main([]) == 0
    assert [" ".join(call.split()[:2]) for call in _calls(tmp_path)] == ["pip sync", "pip install"]


def test_tools_once_installed_stay_so_that_run_and_test_do_not_undo_each_other(project, tmp_path):
    main([])
    main(["--dev"])
    assert "images/ml/dev.txt" in _calls(tmp_path)[-2]
    main([])
    main(["--dev"])
    assert _calls(tmp_path) == []


def test_a_set_up_that_failed_says_so_and_the_next_one_starts_clean(project, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UV_FAILS", "1")
    assert main([]) == 1
    assert "set-up stopped: `uv pip sync` ended with status 2" in capsys.readouterr().err
    assert not (project / ".venv" / "ml" / STAMP).exists()
    monkeypatch.delenv("UV_FAILS")
    _calls(tmp_path)
    assert main([]) == 0
    assert "venv --clear" in _calls(tmp_path)[0]


def test_a_moved_checkout_is_built_anew(project, tmp_path):
    main([])
    place = project / ".venv" / "ml" / STAMP
    place.write_text(json.dumps({**json.loads(place.read_text()), "project": "/elsewhere"}))
    _calls(tmp_path)
    main([])
    assert len(_calls(tmp_path)) == 2


def test_an_environment_without_its_python_is_built_anew(project, tmp_path):
    main([])
    (project / ".venv" / "ml" / "bin" / "python").unlink()
    _calls(tmp_path)
    main([])
    assert len(_calls(tmp_path)) == 3


def test_torch_comes_from_the_folder_pip_is_told_of_else_from_its_own_index(tmp_path, monkeypatch):
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    (tmp_path / "torch-2.13.0+cpu-cp311.whl").touch()
    assert environments._torch({"find-links": f"/nowhere {tmp_path}"}) == ["--find-links", str(tmp_path)]
    assert environments._torch({}) == ["--torch-backend=cpu"]


def test_an_old_uv_is_not_used_and_a_failed_bootstrap_names_the_remedy(project, tmp_path, monkeypatch):
    old = tmp_path / "tools" / "uv"
    old.write_text("#!/bin/sh\necho uv 0.4.1\n")
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(Unavailable, match=r"python3\.11-venv"):
        environments.find_uv(project)


def test_make_names_the_remedy_where_no_python_fits(tmp_path):
    for name in ("python3.11", "python3", "python"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    for tool in ("make", "sh", "sed"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = subprocess.run(
        ["make", "setup"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode != 0
    assert "FleetML is built for Python 3.11" in done.stderr
    assert "make run PYTHON=" in done.stderr


def test_a_python_that_was_named_is_not_replaced_by_another():
    done = subprocess.run(["make", "setup", "PYTHON=/no/such/python"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "none of these is: /no/such/python;" in done.stderr


def test_make_hands_data_and_target_over_whole():
    shown = subprocess.run(
        ["make", "--dry-run", "run", "DATA=my data/it's.csv", "TARGET=cpu"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert r"""fleetml train --data 'my data/it'\''s.csv' --target 'cpu'""" in shown


def test_a_long_installation_says_that_it_goes_on(project, tmp_path, monkeypatch):
    """The installer waits here until that was said."""
    go, said = tmp_path / "go", []
    waiting = UV.replace('"pip sync")', f'"pip sync") until [ -e "{go}" ]; do sleep 0.05; done;')
    Path(shutil.which("uv")).write_text(waiting)

    def say(line: str) -> None:
        said.append(line)
        if "uv pip sync: " in line:
            go.touch()

    monkeypatch.setattr(environments, "_say", say)
    monkeypatch.setattr(environments, "TELL_SECONDS", 0.0)
    assert main([]) == 0
    assert go.exists()
    assert said[-1].startswith("environment .venv/ml: ready after ")


def test_an_optional_environment_is_built_only_where_it_is_named(project, tmp_path, capsys):
    table = project / "images" / "images.toml"
    table.write_text(
        table.read_text()
        + '[images."fleetml/keras"]\nvenv = ".venv/keras"\nlocks = ["images/keras/requirements.txt"]\noptional = true\n'
    )
    (project / "images" / "keras").mkdir()
    (project / "images" / "keras" / "requirements.txt").write_text("keras==3\n")
    assert main([]) == 0
    assert not any(".venv/keras" in call for call in _calls(tmp_path))
    assert main(["fleetml/keras"]) == 0
    made = _calls(tmp_path)
    assert "images/keras/requirements.txt" in made[1]
    assert len(made) == 3
    assert main(["fleetml/other"]) == 2
    assert "has the images fleetml/ml, fleetml/keras, got 'fleetml/other'" in capsys.readouterr().err
