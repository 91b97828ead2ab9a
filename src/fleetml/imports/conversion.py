"""A model file becomes a graph in a child process with limits: what it holds was written by a stranger."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetml import errors
from fleetml.errors import ConfigurationError, InvalidData
from fleetml.images import Images
from fleetml.imports import archives, arrays, child
from fleetml.imports.arrays import Arrays
from fleetml.imports.formats import FORMATS, REMEDY

SECONDS = 600.0
_OWN = "fleetml/ml"
_SHOWN = 400  # characters of a library's last words


@dataclass(frozen=True)
class Converted:
    """A graph, what the original was asked and what it answered (by the graph's outputs); `columns` as the model names them."""

    graph: Path
    inputs: Arrays
    answers: Arrays
    columns: tuple[str, ...]
    versions: Mapping[str, str]


def convert(
    path: Path,
    kind: str,
    given: Arrays,
    project: Path,
    folder: Path,
    shown: Path | None = None,
    seconds: float = SECONDS,
) -> Converted:
    """Convert a model, one of `FORMATS`, in `folder`, which is empty; messages call it `shown`.

    Raises ConfigurationError where its environment is not built, InvalidData and InvalidParameter as the sources do, InvalidData
    for a conversion that fails, crashes or takes longer than `seconds`.
    """
    if kind == "keras":  # also where nothing here could load it
        archives.check_keras(path, shown or path)
    python = interpreter(project, kind)
    arrays.write(folder / child.GIVEN, given)
    words = [
        str(python),
        "-m",
        "fleetml.imports.child",
        FORMATS[kind].module,
        str(path.absolute()),
        str(folder.absolute()),
    ]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=_environment(folder), start_new_session=True
        )  # fmt: skip
        try:
            status = running.wait(seconds)
        except subprocess.TimeoutExpired:
            raise InvalidData(
                f"a conversion takes at most {seconds:.0f} s, that of {shown or path} took longer; {REMEDY}"
            ) from None
        finally:
            _end(running)
    if status != 0:
        raise _failure(path, shown or path, kind, folder, status)
    return _read(folder)


def interpreter(project: Path, kind: str) -> Path:
    """Return the Python that converts a format: this one, or that of its own environment. Raises ConfigurationError."""
    image = FORMATS[kind].image
    if image == _OWN:
        return Path(sys.executable)
    try:
        return Images(project).resolve(image).python
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{FORMATS[kind].name} is converted in an environment of its own, the image {image} of images/images.toml, which is not "
            f"built here ({error}); build it: .venv/ml/bin/python -m fleetml.stack.environments {image}"
        ) from error


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of ours but where Python is and how coverage measures: no secret is the model's business."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    quiet = {
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    path = os.environ.get("PATH", os.defpath)
    return {**kept, **quiet, "PATH": path, "HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C.UTF-8"}


def _end(running: "subprocess.Popen[bytes]") -> None:
    """End the child and what it may have started."""
    try:
        os.killpg(running.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    running.wait()


def _failure(path: Path, shown: Path, kind: str, folder: Path, status: int) -> errors.FleetMLError:
    try:
        said = json.loads((folder / child.ERROR).read_text())
    except (OSError, ValueError):
        why = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        last = (folder / "log").read_text(errors="replace").strip()[-_SHOWN:]
        return InvalidData(
            f"the conversion of {shown} must end by itself, it {why} (limits: {child.MEMORY_BYTES >> 30} GiB of data, "
            f"{child.CPU_SECONDS} s of CPU){': ' if last else ''}{last}; {REMEDY}"
        )
    message = str(said["message"]).replace(str(path.absolute()), str(shown))
    known = getattr(errors, said["kind"], None) if said["kind"] else None
    if known:
        return known(f"{shown}: {message}" if str(shown) not in message else message)
    return InvalidData(
        f"the converter of {FORMATS[kind].name} must take the model, of {shown} it says: {message[:_SHOWN]}; "
        "export it as ONNX by its own library"
    )


def _read(folder: Path) -> Converted:
    about = json.loads((folder / child.ABOUT).read_text())
    inputs, answers = arrays.read(folder / child.INPUTS), arrays.read(folder / child.ANSWERS)
    return Converted(folder / child.GRAPH, inputs, answers, tuple(about["columns"]), about["versions"])
