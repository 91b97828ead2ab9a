"""The one change that submission makes to an IR: every container image becomes an image by digest."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from fleetml.errors import ConfigurationError
from fleetml.images import Images
from fleetml.pipeline import platform

_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}\Z")


def pinned(spec: Mapping[str, Any], images: Images, overrides: Mapping[str, str]) -> dict[str, Any]:
    """Return the PipelineSpec with each ``container.image``, init containers included, as "registry@sha256:…".

    `overrides` maps an image of the IR to the reference to use instead. Raises ConfigurationError for
    an image that is known by a tag only: a tag may mean other code tomorrow.
    """
    made = copy.deepcopy(dict(spec))
    executors = made["deploymentSpec"]["executors"].values()
    containers = [executor["container"] for executor in executors if "container" in executor]  # an importer has none
    containers = [container for container in containers if container["image"] not in platform.OPERATIONS]
    for settings in platform.executors(made).values():
        containers += settings.get("initContainers", [])
    used = {container["image"] for container in containers}
    if unused := sorted(set(overrides) - used):
        raise ConfigurationError(
            f"image override {unused[0]!r} names no image of this pipeline; it uses {', '.join(sorted(used))}"
        )
    references = {image: _reference(image, images, overrides) for image in sorted(used)}
    for container in containers:
        container["image"] = references[container["image"]]
    return made


def _reference(image: str, images: Images, overrides: Mapping[str, str]) -> str:
    if image in overrides:
        return _by_digest(overrides[image], f"the override of image {image!r}", "write registry@sha256:…")
    if _DIGEST.match(image):
        return image
    remedy = "build and push it, then write registry and digest into images/images.toml, or give an override"
    reference = images.reference(image)
    if not reference:
        raise ConfigurationError(f"image {image!r} has no registry and digest in images/images.toml; {remedy}")
    return _by_digest(reference, f"image {image!r} in images/images.toml", remedy)


def _by_digest(reference: str, what: str, remedy: str) -> str:
    if not _DIGEST.match(reference):
        raise ConfigurationError(f"{what} must be named by its digest, not by a tag, got {reference!r}; {remedy}")
    return reference
