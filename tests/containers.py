"""Containers for tests, where a Docker engine answers: their image is this machine's own Python, so nothing is pulled."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from fleetml.errors import Unavailable
from fleetml.images import Image
from fleetml.runners import ContainerRunner, docker_engine
from fleetml.runners.docker import DockerRunner

ROOT = Path(__file__).parents[1]
_SYSTEM = [Path(name) for name in ("/bin", "/lib", "/lib64")]  # not /sbin, where the engine puts its init


@dataclass(frozen=True)
class Containers:
    """An image with this Python as `python`, and the folders of this machine that make it one."""

    reference: str
    mounts: tuple[Path, ...]

    def runner(self, grace: float = 0.5, **known: object) -> DockerRunner:
        return DockerRunner(self.mounts, grace=grace, **known)

    def for_any_image(self) -> ContainerRunner:
        """Return a runner that takes this image for whatever image a step names."""
        return _OneImage(DockerRunner(self.mounts), self.reference)

    @property
    def image(self) -> Image:
        digest = DockerRunner().pin(self.reference, True)
        return Image("fleetml/ml", ROOT, reference=self.reference, digest=digest)


class _OneImage:
    """Takes one image for whatever image is asked for."""

    def __init__(self, runner: DockerRunner, reference: str) -> None:
        self.run = runner.run
        self._pin = partial(runner.pin, reference, True)

    def pin(self, reference: str, local: bool) -> str:
        return self._pin()


@contextmanager
def containers() -> Iterator[Containers]:
    """Import the image, and remove it in the end. Skips the test where no engine answers."""
    try:
        client = docker_engine.connection().client
    except Unavailable as error:
        pytest.skip(f"no Docker engine: {error}")
    name = f"fleetml-test-{uuid.uuid4().hex[:12]}"
    venv = Path(sys.prefix)
    path = f"ENV PATH={venv}/bin:/usr/local/bin:/usr/bin:/bin"
    client.api.import_image_from_data(_links(), repository=name, changes=[path])
    try:
        given = [
            Path("/usr"),
            ROOT,
            venv,
            venv.resolve(),
            Path(sys.base_prefix).resolve(),
            *(each for each in _SYSTEM if not each.is_symlink()),
        ]
        roots = [each for each in given if each.exists()]
        yield Containers(name, tuple(each for each in roots if not set(each.parents) & set(roots)))
    finally:
        client.images.remove(name, force=True)


def _links() -> bytes:
    """A root with nothing in it but a /tmp, and /bin and the like as links into /usr where they are so here."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for link in filter(Path.is_symlink, _SYSTEM):
            entry = tarfile.TarInfo(link.name)
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(link)  # noqa: PTH115
            tar.addfile(entry)
        entry = tarfile.TarInfo("tmp")
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(entry)
    return data.getvalue()
