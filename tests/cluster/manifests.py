"""What the API server would refuse: held to the official client's generated models, and to the rules that are in no schema."""

from __future__ import annotations

import re
from typing import Any

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_model(value: Any, kind: str, place: str = "") -> None:
    """Hold a manifest to the client's generated models: every key known, every value of its type, what is required there."""
    from kubernetes import client

    model = getattr(client, kind)
    if not isinstance(value, dict):
        raise Refused(400, f"{place or kind} must be an object, got {value!r}")
    names = {key: name for name, key in model.attribute_map.items()}
    for key, inner in value.items():
        if key not in names:
            raise Refused(400, f'strict decoding error: unknown field "{place}.{key}"')
        check_type(inner, model.openapi_types[names[key]], f"{place}.{key}")
    try:
        client.ApiClient()._ApiClient__deserialize(value, model)
    except ValueError as error:
        raise Refused(422, f"{place or kind}: {error}") from None


def check_type(value: Any, kind: str, place: str) -> None:
    shapes = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object, "datetime": str}
    if found := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            raise Refused(400, f"{place} must be a list, got {value!r}")
        for index, inner in enumerate(value):
            check_type(inner, found[1], f"{place}[{index}]")
    elif found := re.fullmatch(r"dict[(\[]str, (.+)[)\]]", kind):
        if not isinstance(value, dict):
            raise Refused(400, f"{place} must be a map, got {value!r}")
        for key, inner in value.items():
            check_type(inner, found[1], f"{place}.{key}")
    elif kind in shapes:
        if not isinstance(value, shapes[kind]) or (isinstance(value, bool) and kind == "int"):
            raise Refused(400, f"{place} must be {kind}, got {value!r}")
    else:
        check_model(value, kind, place)


def check_pod(body: dict[str, Any]) -> None:
    """Hold a pod to the rules of the API server that are in no schema."""
    spec = body["spec"]
    volumes = [volume["name"] for volume in spec.get("volumes", ())]
    for name in (body["metadata"]["name"], *volumes, *(c["name"] for c in spec["containers"])):
        if not _NAME.match(name):
            raise Refused(422, f'Invalid value: "{name}": a lowercase RFC 1123 label')
    if len(set(volumes)) < len(volumes):
        raise Refused(422, "spec.volumes: Duplicate value")
    for volume in spec.get("volumes", ()):
        if len(volume) != 2:
            raise Refused(422, f"spec.volumes: {volume['name']} needs one source")
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        check_container(container, volumes)
    for key, value in body["metadata"].get("labels", {}).items():
        if not re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value):
            raise Refused(422, f"metadata.labels.{key}: Invalid value: {value}")


def check_container(container: dict[str, Any], volumes: list[str]) -> None:
    paths = [mount["mountPath"] for mount in container.get("volumeMounts", ())]
    if len(set(paths)) < len(paths):
        raise Refused(422, "volumeMounts.mountPath: must be unique")
    for mount in container.get("volumeMounts", ()):
        if mount["name"] not in volumes:
            raise Refused(422, f'volumeMounts.name: Not found: "{mount["name"]}"')
    for entry in container.get("env", ()):
        if not re.fullmatch(r"[-._a-zA-Z][-._a-zA-Z0-9]*", entry["name"]):
            raise Refused(422, f"env.name: Invalid value: {entry['name']}")
