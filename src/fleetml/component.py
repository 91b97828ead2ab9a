"""The entry inside every step: ``python -m fleetml.component module:function '{{$}}'``.

It alone knows the executor contract of KFP v2: the executor input arrives as JSON, the plain function
is called with parameters by name and artifacts as `Artifact` values, and what it returns is written to
``executor_output.json``. Standard library only, so that a step starts in milliseconds.

A failure leaves ``failure.json`` beside the executor output, which `fleetml.step` turns into the report
a user reads; a `fleetml.errors.FleetMLError` is printed as its message, without a traceback.
"""

import contextlib
import errno
import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml.errors import FleetMLError

_FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))

# Where the KFP launcher mounts remote stores inside a container.
_MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}


class Artifact:
    """One artifact of a step.

    `path` is a file or folder on this machine; for an output its parent exists and the function creates
    it. `metadata` of an output is stored with the artifact and must be JSON.
    """

    # By hand: every step would wait for the modules that dataclasses loads, as long as for all else here.
    def __init__(
        self, name: str, uri: str, type: str = "system.Artifact", metadata: dict[str, Any] | None = None
    ) -> None:
        self.name, self.uri, self.type = name, uri, type
        self.metadata: dict[str, Any] = {} if metadata is None else metadata

    def __repr__(self) -> str:
        return f"Artifact(name={self.name!r}, uri={self.uri!r}, type={self.type!r}, metadata={self.metadata!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Artifact) and vars(self) == vars(other)

    @property
    def path(self) -> Path:
        for scheme, mount in _MOUNTS.items():
            if self.uri.startswith(scheme):
                return Path(mount + self.uri[len(scheme) :])
        return Path(self.uri.removeprefix("file://"))

    def log(self, **figures: float | int | str | bool) -> None:
        """Add figures to the metadata; the first ones of a ``system.Metrics`` are shown beside the step."""
        self.metadata.update(figures)


def arguments(executor_input: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[Artifact]]]:
    """Return the keyword arguments for the function, and the output artifacts among them by name."""
    inputs, outputs = executor_input.get("inputs", {}), executor_input.get("outputs", {})
    # A KFP cluster also hands in the values that texts were made of ("pipelinechannel--x"); they are no arguments.
    kwargs: dict[str, Any] = {n: v for n, v in inputs.get("parameterValues", {}).items() if "--" not in n}
    for name, entry in inputs.get("artifacts", {}).items():
        found = [_artifact(name, item) for item in entry.get("artifacts", [])]
        kwargs[name] = found if entry.get("isList") or len(found) != 1 else found[0]
    made: dict[str, list[Artifact]] = {}
    for name, entry in outputs.get("artifacts", {}).items():
        made[name] = [_artifact(name, item) for item in entry.get("artifacts", [])]
        for artifact in made[name]:
            artifact.path.parent.mkdir(parents=True, exist_ok=True)
        kwargs[name] = made[name][0]
    return kwargs, made


def _artifact(name: str, item: Mapping[str, Any]) -> Artifact:
    kind = item.get("type", {}).get("schemaTitle", "system.Artifact")
    return Artifact(item.get("name", name), item.get("uri", ""), kind, dict(item.get("metadata", {})))


def write_output(executor_input: Mapping[str, Any], returned: Any, made: Mapping[str, list[Artifact]]) -> None:
    """Write ``executor_output.json`` (aside, then renamed) from what the function returned.

    Scalars of numpy and its like are written as the numbers they are. Raises TypeError when the returned mapping
    does not name exactly the declared output parameters, or when a value or an artifact's metadata is not JSON.
    """
    outputs = executor_input.get("outputs", {})
    values = dict(returned or {})
    declared = set(outputs.get("parameters", {}))
    if set(values) != declared:
        raise TypeError(f"a step returns its output parameters {sorted(declared)}, got {sorted(values)}")
    document = {
        "parameterValues": values,
        "artifacts": {
            name: {"artifacts": [{"name": a.name, "uri": a.uri, "metadata": a.metadata} for a in artifacts]}
            for name, artifacts in made.items()
        },
    }
    target = Path(outputs["outputFile"])
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(".tmp")
    aside.write_text(json.dumps(document, default=_scalar))
    aside.replace(target)


def _scalar(value: Any) -> Any:
    if getattr(value, "shape", None) == ():
        return value.item()
    raise TypeError(f"outputs and metadata are JSON, got {value!r} of type {type(value).__name__}")


def _sign(made: Mapping[str, list[Artifact]]) -> None:
    """Note in each model what environment and code made it (a digest); one that was passed on keeps what it says."""
    if code := os.environ.get("FLEETML_CODE_DIGEST"):  # a KFP cluster sets none
        for model in (artifact for items in made.values() for artifact in items if artifact.type == "system.Model"):
            model.metadata.setdefault("code_digest", code)


def load(entry: str) -> Any:
    """Import ``module:function`` and return the function.

    No bytecode is left of it: Python takes it for that of a file that was changed within the same second to the same size.
    """
    sys.dont_write_bytecode = True
    module, _, function = entry.partition(":")
    return getattr(importlib.import_module(module), function)


def _print_notes() -> None:
    """Have the progress of a step printed: our own notes, and only what is worth a warning of the libraries'."""
    if "logging" not in sys.modules:  # nothing that was imported logs; to load it would be a fifth of a small step
        return
    import logging

    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
    for own in ("fleetml", "components"):
        logging.getLogger(own).setLevel(logging.INFO)


def _failure(error: BaseException) -> dict[str, Any]:
    """Describe the error and the innermost line of the user's own code (not a library's) it passed."""
    import traceback  # here, as most steps end well

    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if _is_own(frame.filename)][-1:]
    full = next((words for words in _FULL if words in str(error)), "")  # libraries wrap what the system said
    told = f"a step needs room for what it writes, the disk says: {full}; free some and resume"
    return {
        "type": "Unavailable" if full else type(error).__name__,
        "message": told if full else str(error),
        "user_error": bool(full) or isinstance(error, FleetMLError),
        "file": last[0].filename if last else "",
        "line": last[0].lineno if last else 0,
    }


def _is_own(file: str) -> bool:
    foreign = file == __file__ or "site-packages" in file or file.startswith(os.path.dirname(os.__file__))  # noqa: PTH120
    return not foreign and os.path.isfile(file)  # noqa: PTH113


def main(argv: list[str]) -> int:
    """Run one step; return the exit status."""
    if len(argv) != 2:
        print("usage: python -m fleetml.component module:function EXECUTOR_INPUT_JSON", file=sys.stderr)
        return 2
    entry, executor_input = argv[0], json.loads(argv[1])
    try:
        kwargs, made = arguments(executor_input)
        function = load(entry)
        _print_notes()
        returned = function(**kwargs)
        _sign(made)
        write_output(executor_input, returned, made)
    except Exception as error:
        found, place = _failure(error), Path(executor_input["outputs"]["outputFile"]).parent / "failure.json"
        with contextlib.suppress(OSError):  # a full disk may not even take this; the log tells it then
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(found))
        if found["user_error"]:
            print(f"error: {found['message']}", file=sys.stderr)
        else:
            import traceback

            traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
