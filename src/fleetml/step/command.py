"""The command of a step, from its resolved inputs: nothing in it is left to resolve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleetml import artifacts, cache
from fleetml.errors import InvalidParameter
from fleetml.frozen import replace
from fleetml.images import Image
from fleetml.pipeline import Inputs, Step
from fleetml.pipeline.placeholders import render_command, render_env
from fleetml.records import Run
from fleetml.runners import Command, Limits
from fleetml.step import exchange


def command(step: Step, inputs: Inputs, names: Mapping[str, Any], image: Image, folder: Path, records: Run) -> Command:
    """Return the command of a step that writes below `folder`; `names` are the values of the run's placeholders.

    Makes the run's workspace where the command names it. Raises InvalidParameter for what no command line takes.
    """
    executor_input = exchange.executor_input(step, inputs, folder)
    argv = render_command(step.container, executor_input, names)
    env = render_env(step.container, executor_input, names)
    texts = (*argv, *env.values())
    _require_fit(step, argv, texts)
    env["FLEETML_CODE_DIGEST"] = cache.code_digest(step, image)  # a model's lineage wants it
    writable = (folder, *_workspace(records, texts))
    made = Command(tuple(argv), image, env, _limits(step, inputs), _readable(inputs), writable)
    return replace(made, own_entry=not step.container.command, platform=inputs.platform, resources=inputs.resources)


def _require_fit(step: Step, argv: Iterable[str], texts: Iterable[str]) -> None:
    for word in argv:
        if len(word.encode()) > exchange.LARGEST:
            raise InvalidParameter(
                f"an argument of a command is at most {exchange.LARGEST:,} bytes, step '{step.name}' has "
                f"one of {len(word.encode()):,} ({word[:40]}…); hand the value over as an artifact"
            )
    for text in texts:
        if "\0" in text:
            raise InvalidParameter(
                f"arguments and variables of a command hold no NUL byte, step '{step.name}' has one in "
                f"{text[:40]!r}; take it out, or hand the value over as an artifact"
            )


def _limits(step: Step, inputs: Inputs) -> Limits:
    asked = inputs.resources
    limits = Limits.parse(asked.cpu_limit, asked.memory_limit, f"step '{step.name}'")
    return replace(limits, seconds=inputs.platform.get("activeDeadlineSeconds") or None)


def _readable(inputs: Inputs) -> tuple[Path, ...]:
    places = (artifacts.local_path(item["uri"]) for items in inputs.artifacts.values() for item in items)
    return tuple(sorted({path for path in places if path}))


def _workspace(records: Run, texts: Iterable[str]) -> tuple[Path, ...]:
    """Make the folder that the run's steps share, where one of the command's texts names it."""
    shared = records.workspace
    if not any(str(shared) in text for text in texts):
        return ()
    shared.mkdir(parents=True, exist_ok=True)
    return (shared,)
