"""What the commands that take a pipeline share: where its IR lies, and its parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleetml.errors import ConfigurationError, InvalidParameter
from fleetml.pipeline import Plan, yaml_text
from fleetml.settings import Settings
from fleetml.triggers import FILE, Triggers, load
from fleetml.workflow import source


def pipeline_file(given: str) -> Path:
    """Return the file of a pipeline folder or file: an IR, or a workflow. Raises ConfigurationError when there is none."""
    path = Path(given)
    if path.suffix == ".py":
        raise ConfigurationError(f"a pipeline runs from its IR, {path} is its source; first: fleetml compile {path}")
    if path.is_dir():
        names = ("pipeline.yaml", *source.NAMES)
        path = next((path / name for name in names if (path / name).is_file()), path / names[0])
    if not path.is_file():
        raise ConfigurationError(
            f"a pipeline is an IR file, a workflow, or a folder with a pipeline.yaml, {path} is not there; compile it"
        )
    return path.absolute()


def defaults(path: Path, plan: Plan, settings: Settings) -> dict[str, Any]:
    """Return the parameters of a run that nobody gives: those of triggers.yaml; for a workflow where to register and serve."""
    return {**source.installation(plan, settings), **triggers_of(path, plan, settings).defaults}


def triggers_of(path: Path, plan: Plan, settings: Settings) -> Triggers:
    """Return the triggers beside an IR, held against its plan."""
    place = path.with_name(FILE if path.stem in ("pipeline", "workflow") else f"{path.stem}.{FILE}")
    triggers = load(place, settings).remembering(plan, settings)
    triggers.check(plan, place)
    return triggers


def given(texts: Sequence[str], file: str | None, plan: Plan) -> dict[str, Any]:
    """Return parameters from a JSON or YAML file and ``NAME=VALUE`` texts (which win). Raises InvalidParameter."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidParameter(f"a parameter is NAME=VALUE, got {text!r}; write e.g. -p {name or 'seed'}=1")
        if name in pairs:
            raise InvalidParameter(
                f"a parameter is given once, '{name}' is given as {pairs[name]!r} and as {value!r}; leave one of them out"
            )
        pairs[name] = value
    return {**_of_file(file), **plan.parse(pairs)}


def _of_file(file: str | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    try:
        found, *others = yaml_text.documents(Path(file).read_bytes()) or [None]
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise InvalidParameter(f"parameters must stand in a readable YAML or JSON file, {file}: {said}") from None
    if others or not isinstance(found, dict):
        raise InvalidParameter(f"{file} must hold a mapping of parameters, got {json.dumps(found, default=str)[:80]}")
    return found
