"""Packages that a component of the KFP SDK installs before it runs (``packages_to_install``).

What an environment holds is its lock's affair: a step never installs into it. What it asks for beyond that comes into
an environment of its own that sees the image's as well, built once and kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from fleetml import lockfile
from fleetml.errors import ConfigurationError, Unavailable
from fleetml.frozen import frozen
from fleetml.images import Image
from fleetml.runners import Command, Exit

_INSTALL = re.compile(r"pip install (?P<words>[^&|\n)]*)")
_VALUED = ("--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--trusted-host")
_STAMP = "finished.json"
# What pip says when asking again will not help.
_FINAL = ("No matching distribution", "Invalid requirement", "ResolutionImpossible", "requires a different Python")


@frozen
class Packages:
    """Requirements as pip takes them, and the options that say where they come from."""

    requirements: tuple[str, ...]
    options: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps([self.requirements, self.options]).encode()).hexdigest()


def split(argv: tuple[str, ...]) -> tuple[Packages | None, tuple[str, ...]]:
    """Return what the ``sh -c "… pip install … && "$0" "$@"`` before a component's own command asks for, and that command.

    The SDK itself is in the image: its own wrapper asks for it each time. None where nothing else is asked for.
    """
    wrapped = len(argv) > 3 and argv[:2] == ("sh", "-c") and "pip install" in argv[2]
    if not wrapped or not argv[2].rstrip().endswith('"$0" "$@"'):
        return None, argv
    requirements: dict[str, None] = {}
    options: dict[tuple[str, ...], None] = {}
    for found in _INSTALL.finditer(argv[2]):
        words, asked = shlex.split(found["words"]), []
        while words:
            word = words.pop(0)
            if word in _VALUED and words:
                options[word, words.pop(0)] = None
            elif not word.startswith("-"):
                asked.append(word)
        if not any(re.match(r"kfp\b(?!-)", word) for word in asked):
            requirements.update(dict.fromkeys(asked))
    if not requirements:
        return None, argv[3:]
    return Packages(tuple(requirements), tuple(word for pair in options for word in pair)), argv[3:]


def environment(
    packages: Packages, image: Image, folder: Path, call: Callable[[Command], Exit], say: Callable[[str], None]
) -> Image:
    """Return `image` with an environment that also holds `packages`; it is built below `folder` the first time.

    `call` runs one command in an image. Raises ConfigurationError for packages there are none of, Unavailable where they
    cannot be had now, InterruptedError when `call` was cancelled.
    """
    name = hashlib.sha256(f"{image.environment_digest()}{packages.digest}".encode()).hexdigest()[:32]
    made = replace(image, venv=folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f"{name}.lock"):
        if not (made.venv / _STAMP).is_file():
            shutil.rmtree(made.venv, ignore_errors=True)  # of a build that was interrupted
            say(f"installing {', '.join(packages.requirements)} into an environment of its own (once)")
            _build(packages, image, made, call)
    return made


def _build(packages: Packages, image: Image, made: Image, call: Callable[[Command], Exit]) -> None:
    try:
        if not _ran(call(Command(("python", "-m", "venv", str(made.venv)), image))):
            raise ConfigurationError(
                "packages_to_install need Python's venv with pip, this machine's has none; "
                "on Debian: apt-get install python3-venv"
            )
        (library,) = made.venv.glob("lib/python*/site-packages")
        (seen,) = image.venv.glob("lib/python*/site-packages")
        # A line of code, for the image's own .pth files are to be followed too.
        (library / "_image.pth").write_text(f"import site; site.addsitedir({str(seen)!r})\n")
        _install(packages, made, call)
        (made.venv / _STAMP).write_text(json.dumps(packages.requirements))
    except BaseException:
        shutil.rmtree(made.venv, ignore_errors=True)
        raise


def _install(packages: Packages, made: Image, call: Callable[[Command], Exit]) -> None:
    said = made.venv / "pip.log"
    pip = ("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--log", str(said))
    env = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    if _ran(call(Command((*pip, *packages.options, *packages.requirements), made, env))):
        return
    text = said.read_text(errors="replace") if said.exists() else ""
    told = [line.split("ERROR: ", 1)[1].strip() for line in text.splitlines() if "ERROR: " in line]
    error = ConfigurationError if any(words in text for words in _FINAL) and "connection" not in text else Unavailable
    raise error(
        f"packages_to_install are installed by pip, {', '.join(packages.requirements)} could not be: "
        f"{told[-1] if told else 'see the log'}; go online, or put them into the lock of image '{made.name}'"
    )


def _ran(exit: Exit) -> bool:
    if exit.ended == "cancelled":
        raise InterruptedError("cancelled while packages were installed")
    return exit.succeeded


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Keep an environment for this process while the context lasts; when its file was last touched tells when it was used."""
    while True:
        with lockfile.held(place) as lock:
            os.utime(lock)
            if place.exists() and os.path.samestat(os.fstat(lock), place.stat()):
                yield
                return


@contextlib.contextmanager
def unused(folder: Path, before: float) -> Iterator[list[Path]]:
    """Yield the environments below `folder` that nobody took since `before` [s since the epoch], each with its lock.

    Nobody gets one of them while the context lasts, so they may be taken away. Raises OSError.
    """
    with contextlib.ExitStack() as held:
        found = []
        for place in sorted(folder.glob("*.lock")):
            lock = held.enter_context(lockfile.opened(place))
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if place.stat().st_mtime < before:
                    found += [made for made in (place.with_suffix(""), place) if made.exists()]
        yield found
