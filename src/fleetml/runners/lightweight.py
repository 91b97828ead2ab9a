"""A lightweight component of the KFP SDK, started without its shell script: what that does is done here, and Python started at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fleetml.frozen import replace
from fleetml.runners import Command

# How it starts, without its blanks
_SCRIPT = (
    "program_path=$(mktemp -d)",
    'printf "%s" "$0" > "$program_path/ephemeral_component.py"',
    "_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main --component_module_path "
    '"$program_path/ephemeral_component.py" "$@"',
)
_NAME = "ephemeral_component.py"


def direct(command: Command, env: Mapping[str, str], folder: Path) -> tuple[Command, dict[str, str]]:
    """Return the command and variables by which a step in `folder` starts: those given, unless the command is the SDK's, word by word.

    A shell and `mktemp` take a tenth of the time of a trivial component. Raises OSError where the code cannot be written.
    """
    argv = command.argv
    if argv[:2] != ("sh", "-ec") or len(argv) < 4 or _lines(argv[2]) != _lines("\n".join(_SCRIPT)):
        return command, dict(env)
    file = folder / "tmp" / "component" / _NAME
    file.parent.mkdir()
    file.write_bytes(os.fsencode(argv[3]))
    start = ("python3", "-m", "kfp.dsl.executor_main", "--component_module_path", str(file), *argv[4:])
    return replace(command, argv=start), {**env, "_KFP_RUNTIME": "true"}


def _lines(script: str) -> list[list[str]]:
    return [words for line in script.splitlines() if (words := line.split())]
