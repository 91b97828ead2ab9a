"""The image table: what a logical image name of the IR means on this machine (``images/images.toml``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Image:
    """One environment. `venv` and `code` are absolute; `code` are the files and folders its steps may import.

    `lock_digest` is the SHA-256 of the lock files it was built from; `digest` the container image's, "" until pushed.
    """

    name: str
    project: Path
    venv: Path
    lock_digest: str
    code: tuple[Path, ...] = ()
    registry: str = ""
    digest: str = ""

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    def environment_digest(self) -> str:
        """SHA-256 over lock digest, Python version of the venv and platform."""
        raise NotImplementedError

    def code_digest(self, entry: str = "") -> str:
        """SHA-256 over the code roots and, for `entry` ("components.train.fit:fit"), its stage's folder."""
        raise NotImplementedError


class Images:
    """The table of one project; a digest is computed once and kept as long as this object."""

    def __init__(self, project: Path) -> None:
        raise NotImplementedError

    def resolve(self, name: str) -> Image:
        """Return the image for a logical name or one of its aliases.

        Raises ConfigurationError, naming the table, for an unknown name and for a venv that was not built.
        """
        raise NotImplementedError
