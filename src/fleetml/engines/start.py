"""A step that starts another pipeline: what every engine that can do so asks of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml import sha256
from fleetml.errors import ConfigurationError, InvalidPipeline
from fleetml.frozen import field, frozen
from fleetml.pipeline import Inputs, Step, document
from fleetml.records import Run
from fleetml.settings import Settings
from fleetml.start import COMMAND

_LONGEST = 200  # characters of a run's id


@frozen
class Start:
    """The pipeline to start, by name; `run_id` is that of its run, `parent` what its record says of who started it."""

    pipeline: str
    parameters: Mapping[str, Any]
    wait: bool
    run_id: str
    parent: Mapping[str, Any] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """What the record of the step says it waits for; `still_wanted` knows it again."""
        return f"run {self.run_id} of {self.pipeline}"

    def gives(self, state: str, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the step's output parameters."""
        return {"run_id": self.run_id, "state": state, "outputs": dict(outputs)}


def is_start(step: Step) -> bool:
    """Say whether a step starts another pipeline."""
    return step.container.command == COMMAND


def asked(step: Step, inputs: Inputs, records: Run, pipeline: str, attempt: int) -> Start:
    """Return what a step of the run at `records`, of `pipeline`, starts in its attempt of this number.

    Raises InvalidPipeline for a pipeline that this run is part of: it would start itself without end.
    """
    name = str(inputs.parameters["pipeline"])
    chain = [*records.read().get("parent", {}).get("chain", []), pipeline]
    if name in chain:
        raise InvalidPipeline(
            f"step '{step.name}' starts '{name}', which is started by {' > '.join(chain)}: that would never end; "
            "start another one"
        )
    wait = bool(inputs.parameters.get("wait", True))
    parent = {"run_id": records.run_id, "step": step.name, "wait": wait, "chain": chain}
    run_id = shortened(f"{name}--{records.run_id}--{step.name}-{attempt}")
    return Start(name, dict(inputs.parameters.get("parameters") or {}), wait, run_id, parent)


def still_wanted(records: Run) -> bool:
    """Say whether the step that started this run, and waits for it, still does, or was served.

    It does not when it was ended, or waits for another run since.
    """
    parent = records.read().get("parent")
    if not parent or not parent["wait"]:
        return True
    attempts = Run(records.folder.parents[1], parent["run_id"]).attempts(parent["step"])
    return not attempts or f"run {records.run_id} of " in attempts[-1].reason


def shortened(name: str) -> str:
    """Return a name as the id of a run: without other characters, at most 200 of them, still its own."""
    name = re.sub(r"[^A-Za-z0-9_.:+-]", "-", name)
    if len(name) <= _LONGEST:
        return name
    mark = sha256.hexdigest(name.encode())[:12]
    return f"{name[: _LONGEST - len(mark) - 1]}-{mark}"


def find(name: str, settings: Settings) -> Path:
    """Return the IR of the project's pipeline of this name. Raises ConfigurationError when there is none."""
    known: dict[str, Path] = {}
    for path in sorted((settings.project / "dags").glob("*/*.yaml")):
        if b"pipelineInfo" in path.read_bytes():
            info = document.read(path, settings.home / "ir").get("pipelineInfo", {})
            known.setdefault(str(info.get("name")), path)
    if name not in known:
        raise ConfigurationError(
            f"a step starts a pipeline of this project by its name, {settings.project / 'dags'} has no '{name}'; "
            f"it has {', '.join(sorted(known)) or 'none'}"
        )
    return known[name]
