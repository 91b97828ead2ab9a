"""What a terminal shows."""

from __future__ import annotations

import os
import pty
import subprocess
import termios

from tests.cli.processes import command
from tests.small_pipelines import Pipeline


def on_terminal(words: list[str], env: dict[str, str]) -> tuple[str, int]:
    """Run a command with its output on a terminal of 100 columns; return what it wrote, and its status."""
    own, its = pty.openpty()
    termios.tcsetwinsize(its, (30, 100))
    with subprocess.Popen(words, env=env, stdout=its, stderr=its) as going:
        os.close(its)
        found = b""
        while True:
            try:
                chunk = os.read(own, 65536)
            except OSError:  # EIO: the other end is closed
                break
            if not chunk:
                break
            found += chunk
    os.close(own)
    return found.decode(), going.returncode


def test_a_terminal_shows_a_live_table_and_no_colour_means_none(pipeline: Pipeline, environ: dict[str, str]) -> None:
    path = pipeline("def a(): return {'out': 1}\ndef b(a): return {'out': a}\n", {"a": [], "b": ["a"]})
    env = {**environ, "TERM": "xterm-256color"}
    env.pop("NO_COLOR", None)
    shown, status = on_terminal(command("run", path), env)
    assert status == 0
    assert "✓ a" in shown
    assert "\x1b[32m" in shown  # green
    shown, status = on_terminal(command("run", path), {**env, "NO_COLOR": "1"})
    assert "↺ b" in shown
    assert "\x1b[32m" not in shown
