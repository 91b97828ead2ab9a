"""The image table: what a logical image name of the IR means on this machine (``images/images.toml``)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fleetml import sha256
from fleetml.errors import ConfigurationError
from fleetml.frozen import field, frozen
from fleetml.pipeline.document import parsed
from fleetml.settings import TABLE

STAMP = "fleetml-environment.json"  # left in a finished venv by whoever built it: locks, python


# Returns the content digest ("sha256:…") of a container image. `local`: one of ours that was never pushed, so that it
# is only on this machine and its name means nothing to a registry. Raises ConfigurationError, Unavailable.
Pin = Callable[[str, bool], str]


@frozen
class Image:
    """One environment: a virtual environment, or a container image where `reference` is given.

    `venv` and `code` are absolute; `code` are the files and folders its steps may import, `lock_digest` is the SHA-256
    of the lock files it was built from. A container's code is in its image: it has `reference` and content `digest` alone.
    """

    name: str
    project: Path
    venv: Path = Path()
    lock_digest: str = ""
    code: tuple[Path, ...] = ()
    reference: str = ""
    digest: str = ""
    _known: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    def environment_digest(self) -> str:
        """SHA-256 over lock digest, Python version of the venv and platform, computed once; a container's `digest`."""
        if self.reference:
            return self.digest
        if "environment" not in self._known:
            parts = (self.lock_digest, _python_version(self.venv), sys.platform, os.uname().machine)
            self._known["environment"] = sha256.hexdigest("\0".join(parts).encode())
        return self._known["environment"]

    def code_digest(self, entry: str = "") -> str:
        """SHA-256 over the code roots and, for `entry` ("components.train.fit:fit"), its stage's folder; kept.

        "" for a container.
        """
        if self.reference:
            return ""
        stage = stage_folder(self.project, entry) if entry else None
        place = f"code {stage}"
        if place not in self._known:
            roots = sorted({*self.code, *([stage] if stage else [])})
            self._known[place] = _code_digest(self.project, roots)
        return self._known[place]


def stage_folder(project: Path, entry: str) -> Path | None:
    """Return the folder (or the single file) that holds the code of "module:function", None outside the project.

    The stage of "components.train.fit:fit" is components/train, of "tools.x:f" tools, of "x:f" the file x.py.
    """
    parts = entry.partition(":")[0].split(".")
    for folder in (project.joinpath(*parts[:2]), project / parts[0]):
        if folder.is_dir():
            return folder
    file = project / f"{parts[0]}.py"
    return file if file.is_file() else None


def _code_digest(project: Path, roots: Iterable[Path]) -> str:
    total = sha256.sha256()
    for file in sorted({file for root in roots for file in _sources(root)}):
        content = sha256.of_file(file)
        name = file.relative_to(project) if file.is_relative_to(project) else file
        total.update(f"{name.as_posix()}\0{content}\n".encode())
    return str(total.hexdigest())


def _sources(root: Path) -> Iterator[Path]:
    """Every file below `root` but caches and hidden ones."""
    if root.is_file():
        yield root
    elif root.is_dir():
        for entry in root.iterdir():
            if not entry.name.startswith(".") and entry.name != "__pycache__" and entry.suffix != ".pyc":
                yield from _sources(entry)


def _python_version(venv: Path) -> str:
    """What pyvenv.cfg says; no process is started for it."""
    try:
        lines = (venv / "pyvenv.cfg").read_text().splitlines()
    except OSError:
        return ""
    pairs = dict(line.replace(" ", "").split("=", 1) for line in lines if "=" in line)
    return f"{pairs.get('implementation', 'CPython')} {pairs.get('version_info') or pairs.get('version', '')}"


def lock_digest(project: Path, locks: Iterable[str]) -> str:
    """SHA-256 of the names and contents of lock files. Raises ConfigurationError when one is missing."""
    total = sha256.sha256()
    for lock in locks:
        try:
            total.update(f"{Path(lock).as_posix()}\0".encode() + (project / lock).read_bytes() + b"\0")
        except OSError as error:
            raise ConfigurationError(
                f"an image is built from locks, {lock} of {project / TABLE} cannot be read: {error.strerror}"
            ) from error
    return str(total.hexdigest())


class Images:
    """The table of one project. Digests are computed once and kept as long as this object: make one per run.

    With `pin` images are those of containers (`fleetml.runners.choice.images` knows when), else virtual environments.
    `cache` is a folder that keeps the table's JSON form. Raises ConfigurationError when the table cannot be read.
    """

    def __init__(self, project: Path, pin: Pin | None = None, cache: Path | None = None) -> None:
        self._project = project
        self._pin = pin
        self._place = project / TABLE
        try:
            table = parsed(self._place.read_bytes(), cache, _toml)
        except FileNotFoundError:
            raise ConfigurationError(
                f"where the code of an image runs stands in {self._place}, which is missing; write it "
                '([images."NAME"] with venv = "…" and locks = ["…"]), or set FLEETML_PROJECT to the folder that holds it'
            ) from None
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{self._place} must be a readable TOML table of images: {error}") from error
        self._rows: Mapping[str, Mapping[str, Any]] = table.get("images", {})
        self._aliases: Mapping[str, str] = table.get("aliases", {})
        self._made: dict[str, Image] = {}

    def resolve(self, name: str) -> Image:
        """Return the image for a logical name; without containers also for one of its aliases (shell patterns).

        Raises ConfigurationError, naming the table, for an unknown name and for a venv that was not built; for a
        container that is nowhere, and Unavailable where nobody can tell.
        """
        if self._pin:
            return self._container(name, self._pin)
        logical = self._logical(name)
        if logical not in self._made:
            self._made[logical] = self._image(logical)
        image = self._made[logical]
        if not image.python.exists():
            raise ConfigurationError(
                f"image '{logical}' runs in {image.venv}, which holds no bin/python; run `make setup`"
            )
        return image

    def _container(self, name: str, pin: Pin) -> Image:
        """A name that the table does not know is a stranger's image and stands for itself."""
        if name not in self._made:
            pushed = self.reference(name) if name in self._rows else name
            digest = pin(pushed or name, not pushed)
            self._made[name] = Image(name=name, project=self._project, reference=pushed or name, digest=digest)
        return self._made[name]

    def reference(self, name: str) -> str:
        """Return "registry@digest" of the image's container; "" where it was not pushed.

        Raises ConfigurationError for a name the table does not know.
        """
        row = self._rows[self._logical(name)]
        return f"{row['registry']}@{row['digest']}" if row.get("registry") and row.get("digest") else ""

    def _logical(self, name: str) -> str:
        if name in self._rows:
            return name
        for pattern, target in self._aliases.items():
            if fnmatchcase(name, pattern) and target in self._rows:
                return target
        raise ConfigurationError(
            f"image '{name}' has no environment on this machine; known are {', '.join(sorted(self._rows))} "
            f"and the aliases {', '.join(sorted(self._aliases)) or '(none)'}; add it to {self._place}"
        )

    def _image(self, name: str) -> Image:
        row = self._rows[name]
        try:
            venv = self._project / row["venv"]
            locks = [str(lock) for lock in row["locks"]]
        except KeyError as missing:
            raise ConfigurationError(f"image '{name}' needs {missing} in {self._place}; add it") from None
        return Image(
            name=name,
            project=self._project,
            venv=venv,
            lock_digest=_stamped(venv) or lock_digest(self._project, locks),
            code=tuple(self._project / root for root in row.get("code", [])),
        )


def _toml(content: bytes) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(content.decode())


def _stamped(venv: Path) -> str:
    """The lock digest that the venv was built from, "" without a stamp: then the locks speak for it."""
    try:
        return str(json.loads((venv / STAMP).read_text()).get("locks", ""))
    except (OSError, ValueError):
        return ""
