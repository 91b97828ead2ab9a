"""``fleetml federation``: it becomes the stage's own command, in the learning environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_keys_are_made_by_the_command_of_the_stage(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fleetml", "federation", "keys", str(tmp_path / "link"), "--host", "example.org"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"{tmp_path}/link/authority.pem goes to every region" in ended.stdout
    assert (tmp_path / "link/driver.secret").stat().st_mode & 0o777 == 0o600
