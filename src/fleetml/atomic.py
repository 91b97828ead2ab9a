"""Files that are there whole or not at all: written aside, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_bytes(path: Path) -> bytes:
    """Return what is in a file. Raises OSError, and ValueError for what is none: to read a pipe would take for ever."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ValueError("it is a folder, a pipe or a device, no file")
        with open(file, "rb", closefd=False) as content:
            return content.read()
    finally:
        os.close(file)


def write_text(path: Path, text: str) -> None:
    """Write a file so that readers see the old text or the new, whoever else writes it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_json(path: Path, document: Any) -> None:
    """The same for a JSON document. Raises OSError, or ValueError for what JSON cannot say (NaN)."""
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to, renamed to it on success and removed on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
