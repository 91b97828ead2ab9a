"""Build the embedded environments from their locks: ``python3.11 -m fleetml.stack.environments [--dev] [IMAGE …]``.

Runs before anything is installed: standard library only. Each environment is what ``images/images.toml`` names:
a virtual environment that holds exactly its locks (and, with ``--dev``, the tools of ``dev.txt`` beside them).
A stamp inside it, written last, tells a finished environment from an interrupted one, which is built anew.
"""

import argparse
import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetml import lockfile
from fleetml.errors import ConfigurationError, FleetMLError, Unavailable
from fleetml.images import STAMP, TABLE, lock_digest

UV = "uv==0.13.8"
TELL_SECONDS = 20.0
"""Between two lines that say that an installation goes on."""
_UV_OLDEST = (0, 7)  # the first with every flag used here


@dataclass(frozen=True)
class Environment:
    """One virtual environment; all paths are relative to the project."""

    name: str
    venv: Path
    locks: tuple[Path, ...]
    optional: bool = False

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def dev(self) -> Path:
        return self.locks[0].parent / "dev.txt"


def environments(project: Path) -> list[Environment]:
    """Read the table of images."""
    table = tomllib.loads((project / TABLE).read_text())["images"]
    return [
        Environment(name, Path(row["venv"]), tuple(map(Path, row["locks"])), bool(row.get("optional")))
        for name, row in table.items()
    ]


def chosen(project: Path, names: Sequence[str]) -> list[Environment]:
    """Return the environments of these images; without names all but the optional ones. Raises ConfigurationError."""
    known = {environment.name: environment for environment in environments(project)}
    if unknown := [name for name in names if name not in known]:
        raise ConfigurationError(f"{TABLE} has the images {', '.join(known)}, got {unknown[0]!r}; name one of those")
    return [known[name] for name in names] or [each for each in known.values() if not each.optional]


def stamp(project: Path, environment: Environment) -> dict[str, str]:
    """Return what the environment was built from; {} when it was never finished."""
    try:
        found: dict[str, str] = json.loads((project / environment.venv / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return found if (project / environment.python).exists() else {}


def build(project: Path, environment: Environment, uv: Path, dev: bool) -> bool:
    """Bring one environment to its locks; return False when it was there already.

    Raises Unavailable when the installer fails: no network, no space, a package that has no wheel here.
    """
    had = stamp(project, environment)
    with_dev = dev or bool(had.get("dev"))  # tools once installed stay: run and test would else undo each other
    wanted = _wanted(project, environment, with_dev)
    if had == wanted:
        return False
    locks = [*environment.locks, *([environment.dev] if with_dev else [])]
    began = time.monotonic()
    _say(f"environment {environment.venv}: building from {', '.join(map(str, locks))} (minutes, the first time)")
    if had:
        (project / environment.venv / STAMP).unlink()
    else:
        _call(uv, project, "venv", "--clear", "--python", sys.executable, str(environment.venv))
    python = ["--python", str(environment.python)]
    torch = _torch(_pip_settings()) if any(lock.name == "torch.txt" for lock in locks) else []
    _call(uv, project, "pip", "sync", "--compile-bytecode", *python, *torch, *map(str, locks))
    _call(uv, project, "pip", "install", "--no-deps", *python, "--editable", ".")
    _write(project / environment.venv / STAMP, wanted)
    _say(f"environment {environment.venv}: ready after {time.monotonic() - began:.0f} s")
    return True


def _wanted(project: Path, environment: Environment, dev: bool) -> dict[str, str]:
    return {
        "locks": lock_digest(project, map(str, environment.locks)),
        "dev": lock_digest(project, [str(environment.dev)]) if dev else "",
        "project": str(project),  # a moved checkout breaks the editable install
    }


def _torch(pip: Mapping[str, str]) -> list[str]:
    """Say where the CPU build of torch comes from: a folder that pip is told of, else torch's own index."""
    for folder in pip.get("find-links", "").split():
        if any(Path(folder.removeprefix("file://")).glob("torch-*.whl")):
            return ["--find-links", folder]
    return [] if os.environ.get("UV_FIND_LINKS") else ["--torch-backend=cpu"]


@functools.cache
def _pip_settings() -> dict[str, str]:
    """What pip is told on this machine (mirror, certificates, wheel folders): uv does not read it by itself."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    pairs = (line.split("=", 1) for line in listed.stdout.splitlines() if "=" in line)
    return {key.removeprefix("global.").removeprefix(":env:."): value.strip("'\"") for key, value in pairs}


def _uv_environment() -> dict[str, str]:
    drop = {"PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX"}
    env = {name: value for name, value in os.environ.items() if name not in drop}
    for name, key in (("SSL_CERT_FILE", "cert"), ("UV_DEFAULT_INDEX", "index-url")):
        if value := _pip_settings().get(key):
            env.setdefault(name, value)
    return env


def find_uv(project: Path) -> Path:
    """Return uv: the one on PATH if it is new enough, else one installed into ``.venv/uv``."""
    own = project / ".venv" / "uv"
    for candidate in (shutil.which("uv"), str(own / "bin" / "uv")):
        if candidate and _version(candidate) >= _UV_OLDEST:
            return Path(candidate)
    _say(f"installing {UV} into .venv/uv")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(own)], capture_output=True, text=True)
    if made.returncode == 0:
        pip = [str(own / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV]
        made = subprocess.run(pip, capture_output=True, text=True)
    if made.returncode != 0:
        cause = (made.stderr or made.stdout).strip().splitlines()[-1:] or ["no message"]
        raise Unavailable(
            f"set-up needs uv, and installing it into .venv/uv failed: {cause[0]}; install uv yourself "
            "(https://docs.astral.sh/uv) or, on Debian, `apt-get install python3.11-venv`"
        )
    return own / "bin" / "uv"


def _version(uv: str) -> tuple[int, ...]:
    try:
        said = subprocess.run([uv, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return tuple(int(part) for part in said.stdout.split()[1].split(".")[:2])
    except (OSError, IndexError, ValueError):
        return ()


def _call(uv: Path, project: Path, *arguments: str) -> None:
    status = _wait([str(uv), "--quiet", *arguments], project, " ".join(["uv", *arguments[:2]]))
    if status != 0:
        raise Unavailable(
            f"set-up stopped: `uv {' '.join(arguments[:2])}` ended with status {status}, its message stands above; "
            "check the network and the space on the disk, then run the same command again"
        )


def _wait(command: Sequence[str], project: Path, name: str) -> int:
    """Run a command to its end and return its status; the seconds tick meanwhile, on a terminal all, else a line now and then."""
    began = told = time.monotonic()
    ticks = sys.stderr.isatty()
    with subprocess.Popen(command, cwd=project, env=_uv_environment(), stdin=subprocess.DEVNULL) as child:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = child.wait(1.0)
                break
            now = time.monotonic()
            if ticks:
                sys.stderr.write(f"\r  {now - began:.0f} s ")
                sys.stderr.flush()
            elif now - told >= TELL_SECONDS:
                told = now
                _say(f"  {name}: {now - began:.0f} s, it downloads, unpacks and compiles")
    if ticks:
        sys.stderr.write("\r        \r")
    return status


@contextlib.contextmanager
def _alone(project: Path) -> Iterator[None]:
    """Let one set-up at a time work on this checkout."""
    folder = project / ".venv"
    folder.mkdir(exist_ok=True)
    with lockfile.held(folder / ".lock", lambda: _say("waiting for another set-up of this checkout")):
        yield


def _write(path: Path, document: dict[str, str]) -> None:
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(document, indent=1))
    aside.replace(path)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the set-up's own progress; rich is not installed yet


def main(argv: Sequence[str] | None = None) -> int:
    """Build what is missing; return the exit status."""
    parser = argparse.ArgumentParser(prog="fleetml.stack.environments", description=__doc__.splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="add the tools of the tests")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="default: all that are not optional in images.toml")
    args = parser.parse_args(argv)
    project = Path.cwd()
    try:
        with _alone(project):
            wanted = chosen(project, args.images)
            uv = find_uv(project) if any(_stale(project, e, args.dev) for e in wanted) else Path("uv")
            built = [build(project, environment, uv, args.dev) for environment in wanted]
    except FleetMLError as error:
        _say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("set-up interrupted; run the same command again to go on")
        return 130
    if not any(built):
        _say("environments: unchanged")
    return 0


def _stale(project: Path, environment: Environment, dev: bool) -> bool:
    had = stamp(project, environment)
    return had != _wanted(project, environment, dev or bool(had.get("dev")))


if __name__ == "__main__":
    sys.exit(main())
