"""Artifacts on disk: content hashes, and the immutable folders that hold what steps made."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetml import sha256
from fleetml.frozen import frozen

_RECORD = "result.json"
NOTHING = "none"  # the digest of an artifact that is metadata only (a system.Metrics without a file)


def local_path(uri: str) -> Path | None:
    """Return the file or folder that a URI means on this machine, None for a remote one."""
    plain = uri.removeprefix("file://")
    return Path(plain) if plain.startswith("/") else None


def digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes, or of a folder: the names, kinds and contents of all in it.

    Raises OSError when it is missing or cannot be read.
    """
    if not path.is_dir():
        if path.exists() and not path.is_file():  # to open a pipe would take for ever
            raise OSError(errno.EINVAL, "neither a file nor a folder", str(path))
        return sha256.of_file(path)
    total = sha256.sha256(b"folder\n")
    for name, kind, content in sorted(_entries(path, "")):
        total.update(f"{name}\0{kind}\0{content}\n".encode(errors="surrogateescape"))
    return str(total.hexdigest())


def _entries(folder: Path, prefix: str) -> Iterator[tuple[str, str, str]]:
    for entry in os.scandir(folder):
        name = prefix + entry.name
        if entry.is_symlink():
            yield name, "link", str(Path(entry.path).readlink())
        elif entry.is_dir():
            yield name, "folder", ""
            yield from _entries(Path(entry.path), f"{name}/")
        else:
            yield name, "file", digest(Path(entry.path))


def odd(path: Path, result: Path) -> str:
    """Return the first thing at or below `path` that has no content of its own, with its kind; "" where there is none.

    That is neither file nor folder, or is a link that leads out: nobody could hash what it stands for. `result` is the
    folder of the step that made it; a link that is all of an artifact may lead to another result, which is handed on.
    """
    if path.is_symlink():
        target, mine = Path(os.path.realpath(path)), Path(os.path.realpath(result))
        if not (target.exists() and target.is_relative_to(mine.parent)) or target == mine:
            return f"the link {path} -> {path.readlink()}"
        if not target.is_relative_to(mine):
            return ""
        return odd(target, result) if not path.readlink().is_absolute() else f"the link {path} -> {path.readlink()}"
    if not path.is_dir():
        return f"the {kind(path)} {path}" if path.exists() and not path.is_file() else ""
    found = next((entry for entry in _below(path) if _is_odd(entry, path)), None)
    return f"the {kind(Path(found.path))} {found.path}" if found else ""


def _below(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    for entry in os.scandir(folder):
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path)


def _is_odd(entry: os.DirEntry[str], whole: Path) -> bool:
    if not entry.is_symlink():
        return not (entry.is_file() or entry.is_dir())
    target = Path(entry.path).readlink()
    return target.is_absolute() or not Path(os.path.normpath(Path(entry.path).parent / target)).is_relative_to(whole)


def changed(entry: Mapping[str, Any], results: Path) -> bool:
    """Say whether an artifact below `results` is not what it was when its result was published.

    Only what was touched since is hashed: publishing a result touches its ``result.json`` last.
    """
    path, root = (Path(os.path.realpath(each)) for each in (local_path(entry["uri"]) or "/", results))
    if entry["digest"] in ("", NOTHING) or root not in path.parents:
        return False
    try:
        sealed = (root / path.relative_to(root).parts[0] / _RECORD).stat().st_ctime_ns
        return _touched(path) > sealed and not intact(entry)
    except OSError:
        return not intact(entry)


def _touched(path: Path) -> int:
    """Return when a file, or anything in a folder, was last touched [ns]; renaming a folder does not touch it."""
    below = _below(path) if path.is_dir() else ()
    found = [path.stat(), *(entry.stat(follow_symlinks=False) for entry in below)]
    return max(each.st_mtime_ns if stat.S_ISDIR(each.st_mode) else each.st_ctime_ns for each in found)


def _part(path: Path) -> None:
    """Make a file of its own of one that has other names too: what is changed under those would be changed here."""
    import shutil

    copy = path.with_name(f".{path.name}.part")
    shutil.copy2(path, copy)
    copy.replace(path)


def kind(path: Path) -> str:
    """Return what stands at a path, in a word for people."""
    mode = path.lstat().st_mode
    kinds = {stat.S_IFDIR: "folder", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe"}
    return {**kinds, stat.S_IFSOCK: "socket"}.get(stat.S_IFMT(mode), "device")


def intact(entry: Mapping[str, Any]) -> bool:
    """Say whether an artifact entry (uri, digest) still means the bytes that were hashed when it was made."""
    if entry["digest"] == NOTHING:
        return True
    path = local_path(entry["uri"])
    try:
        return path is not None and digest(path) == entry["digest"]
    except OSError:
        return False


@frozen
class ResultFolder:
    """Where one attempt writes its outputs: `aside` while it runs, `final` once published; never changed after."""

    aside: Path
    final: Path

    @classmethod
    def create(cls, results: Path, name: str) -> ResultFolder:
        """Make an empty folder below `results`; `name` only helps people to find it. Raises OSError."""
        readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[-60:]
        result = f"{readable}-{os.urandom(8).hex()}"
        made = cls(results / f".{result}.partial", results / result)
        made.aside.mkdir(parents=True)
        return made

    def publish(self) -> None:
        """Make the files read-only and put the folder in its final place. Raises OSError."""
        for folder, _, files in os.walk(self.aside):
            for file in files:
                path = Path(folder, file)
                found = path.lstat()
                if stat.S_ISREG(found.st_mode):
                    if found.st_nlink > 1:
                        _part(path)
                    path.chmod(found.st_mode & 0o555)
        with contextlib.suppress(FileNotFoundError):
            (self.aside / _RECORD).chmod(0o444)  # last: see `changed`
        self.aside.rename(self.final)

    def discard(self) -> None:
        """Remove what a failed attempt left."""
        import shutil  # here, as a run of cache hits makes no folder

        with contextlib.suppress(OSError):
            shutil.rmtree(self.aside)

    def relocated(self, value: Any) -> Any:
        """Return a JSON value with every path into `aside` turned into the path it has once published."""
        if isinstance(value, str):
            return value.replace(str(self.aside), str(self.final))
        if isinstance(value, list):
            return [self.relocated(item) for item in value]
        if isinstance(value, dict):
            return {key: self.relocated(item) for key, item in value.items()}
        return value
