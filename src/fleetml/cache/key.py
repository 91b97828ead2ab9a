"""What a step would compute, as a key: the SHA-256 of the canonical JSON of all that its result may depend on.

Names, ids, URIs, resources and retries are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fleetml.frozen import frozen
from fleetml.images import Image
from fleetml.pipeline import Inputs, Step
from fleetml.pipeline.model import ArtifactDefinition, Parameter
from fleetml.pipeline.values import digest

FORMAT = 1
# What a step asks of its cluster that says where it runs, not what it sees there.
_ELSEWHERE = {
    *("nodeSelector", "nodeAffinity", "podAffinity", "tolerations"),
    *("imagePullSecret", "imagePullPolicy", "activeDeadlineSeconds"),
}
_ENTRY_MODULE = "fleetml.component"


@frozen
class Key:
    """The key, and the digest of each part it was made of: what differs tells why a step was no hit."""

    digest: str
    parts: Mapping[str, str]


def key(step: Step, inputs: Inputs, image: Image) -> Key | None:
    """Return the key of a step with its inputs in an environment, None where no result may be reused.

    None: compiled with caching off, depends on run placeholders, or reads an artifact whose content is not known.
    """
    contents = {name: [_content(item) for item in items] for name, items in inputs.artifacts.items()}
    if not step.cacheable or any(item is None for items in contents.values() for item in items):
        return None
    if step.cache_key:
        document = {"format": FORMAT, "author": step.cache_key, "definitions": _definitions(step)}
        return Key(digest(document), {"author": digest(step.cache_key)})
    container = step.container
    document = {
        "format": FORMAT,
        "command": {"command": container.command, "args": container.args, "env": container.env, "task": _task(step)},
        "definitions": _definitions(step),
        "parameters": inputs.parameters,
        "artifacts": contents,
        "environment": image.environment_digest(),
        "code": image.code_digest(entry(step)),
    }
    if seen := {feature: asked for feature, asked in inputs.platform.items() if feature not in _ELSEWHERE}:
        document["platform"] = seen
    plain = json.loads(json.dumps(document, default=dict))
    parts = {name: value if isinstance(value, str) else digest(value) for name, value in plain.items()}
    return Key(digest(plain), {name: part for name, part in parts.items() if name != "format"})


def _content(item: Mapping[str, Any]) -> dict[str, Any] | None:
    if not item.get("digest"):
        return None
    return {"type": item.get("type", ""), "digest": item["digest"], "metadata": item.get("metadata", {})}


def _definitions(step: Step) -> dict[str, Any]:
    """The interface: names, types and what is optional; descriptions change nothing."""
    ports: dict[str, Mapping[str, Parameter] | Mapping[str, ArtifactDefinition]] = {
        "input_parameters": step.input_parameters,
        "input_artifacts": step.input_artifacts,
        "output_parameters": step.output_parameters,
        "output_artifacts": step.output_artifacts,
    }
    return {kind: {name: [port.type, port.optional] for name, port in found.items()} for kind, found in ports.items()}


def _task(step: Step) -> str:
    """The task's name where the command asks for it; else a component used twice is computed once."""
    words = (*step.container.command, *step.container.args, *step.container.env.values())
    return step.task if any("pipeline_task_name" in word for word in words) else ""


def entry(step: Step) -> str:
    """Return "module:function" of a step that runs ``python -m fleetml.component``, "" for any other."""
    words = [*step.container.command, *step.container.args]
    for flag, module, target in zip(words, words[1:], words[2:], strict=False):
        if flag == "-m" and module == _ENTRY_MODULE and isinstance(target, str):
            return target
    return ""


def code_digest(step: Step, image: Image) -> str:
    """Return the SHA-256 of the environment and the code of a step: what a model's lineage names."""
    return digest([image.environment_digest(), image.code_digest(entry(step))])
