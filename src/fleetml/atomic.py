"""Files that are there whole or not at all: written aside, then renamed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def read_bytes(path: Path) -> bytes:
    """Return what is in a file. Raises OSError, and ValueError for what is none: to read a pipe would take for ever."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is a folder, a pipe or a device, no file")
        parts = []
        while part := os.read(file, found.st_size + 1):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(file)


def write_text(path: Path, text: str) -> None:
    """Write a file so that readers see the old text or the new, whoever else writes it. Raises OSError."""
    content = text.encode()
    aside = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with _made(aside) as file:
            while content:
                content = content[file.write(content) :]
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _made(path: Path) -> io.FileIO:
    """Open a new file without a buffer, in a folder that is most often there."""
    try:
        return path.open("xb", buffering=0)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb", buffering=0)


def write_json(path: Path, document: Any) -> None:
    """The same for a JSON document, a mapping with a line per entry. Raises OSError, or ValueError for what JSON cannot say (NaN)."""
    write_text(path, _text(document) + "\n")


def _text(document: Any) -> str:
    """Return JSON for people too: `indent` would do it in Python, five times as slow."""
    if not isinstance(document, dict):
        return _JSON.encode(document)
    return "{" + ",\n ".join(_JSON.encode({name: value})[1:-1] for name, value in document.items()) + "}"


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


@contextlib.contextmanager
def durable(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of `path` on success, file and name on the disk: a power cut leaves the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)  # of a process that died
    try:
        made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(made, "wb") as file:
            yield file
            file.flush()
            os.fsync(made)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
