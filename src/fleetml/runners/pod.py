"""A command as a Kubernetes pod: the manifest that the API gets, nothing is asked or started here.

What each feature of kfp-kubernetes makes of a pod follows the KFP backend (driver/k8s.go), so that a step gets here what
it gets there. Docs: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetml.errors import ConfigurationError
from fleetml.frozen import frozen
from fleetml.runners import Command, pod_scheduling

CONTAINER = "step"
FEATURES = frozenset(
    {
        *("secretAsEnv", "secretAsVolume", "configMapAsEnv", "configMapAsVolume", "fieldPathAsEnv"),
        *("pvcMount", "genericEphemeralVolume", "emptyDirMounts", "enabledSharedMemory"),
        *("nodeSelector", "tolerations", "nodeAffinity", "podAffinity", "podMetadata"),
        *("imagePullSecret", "imagePullPolicy", "activeDeadlineSeconds", "securityContext", "initContainers"),
    }
)
_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}\Z")
NOT_PRIVILEGED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@frozen
class Place:
    """Where pods run, and how they get at a step's folders.

    `claim` names the volume claim of `namespace` that is mounted on this machine as `root`; "": `root` is a folder of
    every node at the same path (one node, or a network file system).
    """

    namespace: str = "default"
    claim: str = ""
    root: Path = Path("/")


def by_digest(reference: str, what: str) -> str:
    """Return an image's reference. Raises ConfigurationError for one that is known by a tag only."""
    if not _DIGEST.match(reference):
        raise ConfigurationError(
            f"on a cluster an image is named by its digest, for a tag may mean another one on each node; {what} is "
            f"'{reference}': push it, then write registry and digest into images/images.toml, or name@sha256:… in the component"
        )
    return reference


def manifest(
    command: Command,
    name: str,
    place: Place,
    grace: float,
    folders: Iterable[Path] = (),
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the pod that runs `command` once.

    `folders` are further ones it may read and write, `env` further variables; `grace` [s] is for a pod that is deleted.
    Raises ConfigurationError for an image without a digest and for a folder that no pod can see.
    """
    asked = command.platform
    volumes = _Volumes()
    volumes.folders(command, place, folders)
    volumes.asked(asked)
    spec = {
        "restartPolicy": "Never",
        "containers": [_without_empty(_container(command, volumes, env or {}))],
        "initContainers": [_init_container(each) for each in asked.get("initContainers", ())],
        "volumes": list(volumes.by_name.values()),
        "nodeSelector": asked.get("nodeSelector", {}).get("labels", {}),
        "tolerations": pod_scheduling.tolerations(asked.get("tolerations", ())),
        "affinity": pod_scheduling.affinity(asked),
        "imagePullSecrets": [{"name": each["secretName"]} for each in asked.get("imagePullSecret", ())],
        "terminationGracePeriodSeconds": math.ceil(grace),
        "activeDeadlineSeconds": math.ceil(command.limits.seconds) if command.limits.seconds else "",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": place.namespace, **_without_empty(asked.get("podMetadata", {}))},
        "spec": _without_empty(spec),
    }


def _container(command: Command, volumes: _Volumes, env: Mapping[str, str]) -> dict[str, Any]:
    asked = command.platform
    return {
        "name": CONTAINER,
        "image": by_digest(command.image.reference, f"image '{command.image.name}'"),
        ("args" if command.own_entry else "command"): [_literal(word) for word in command.argv],
        "env": _environment(command, env),
        "resources": _resources(command),
        "volumeMounts": volumes.mounts,
        "securityContext": {
            **NOT_PRIVILEGED,
            "runAsUser": os.getuid(),  # whose folders these are
            "runAsGroup": os.getgid(),
            **asked.get("securityContext", {}),
        },
        "imagePullPolicy": asked.get("imagePullPolicy", ""),
    }


@dataclass
class _Volumes:
    """A pod's volumes by name, and where the step sees them."""

    by_name: dict[str, dict[str, Any]] = field(default_factory=dict)
    mounts: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, source: Mapping[str, Any], path: str, **mount: Any) -> None:
        """Mount a volume; one that is mounted twice is one volume."""
        name = re.sub(r"[^a-z0-9-]", "-", name.lower())
        self.by_name.setdefault(name, {"name": name, **source})
        self.mounts.append({"name": name, "mountPath": path, **mount})

    def folders(self, command: Command, place: Place, further: Iterable[Path]) -> None:
        writable = {*command.writable, *further}
        readable = {path for path in command.readable if not any(path.is_relative_to(root) for root in writable)}
        for index, path in enumerate(sorted(readable | writable)):
            if not place.claim:
                self.add(f"folder-{index}", {"hostPath": {"path": str(path)}}, str(path), readOnly=path in readable)
            elif path.is_relative_to(place.root) and path != place.root:
                source = {"persistentVolumeClaim": {"claimName": place.claim}}
                inside = str(path.relative_to(place.root))
                self.add("fleetml", source, str(path), subPath=inside, readOnly=path in readable)
            else:
                raise ConfigurationError(
                    f"a pod sees what is in the volume claim '{place.claim}', which is {place.root} here; {path} is outside "
                    "of it: set FLEETML_HOME and what steps read to folders of that volume"
                )

    def asked(self, asked: Mapping[str, Any]) -> None:
        for index, each in enumerate(asked.get("secretAsVolume", ())):
            source = {"secretName": each["secretName"], "optional": each.get("optional", False)}
            self.add(f"secret-{index}", {"secret": source}, each["mountPath"])
        for index, each in enumerate(asked.get("configMapAsVolume", ())):
            source = {"name": each["configMapName"], "optional": each.get("optional", False)}
            self.add(f"config-map-{index}", {"configMap": source}, each["mountPath"])
        for each in asked.get("pvcMount", ()):
            name, inside = each["pvcName"], each.get("subPath")
            more = {"subPath": inside} if inside else {}
            self.add(name, {"persistentVolumeClaim": {"claimName": name}}, each["mountPath"], **more)
        for each in asked.get("genericEphemeralVolume", ()):
            spec = _claim(
                {key: value for key, value in each.items() if key != "volumeName"}
            )  # its own name, not a disk's
            template = _without_empty({"metadata": each.get("metadata", {}), "spec": spec})
            self.add(each["volumeName"], {"ephemeral": {"volumeClaimTemplate": template}}, each["mountPath"])
        for each in asked.get("emptyDirMounts", ()):
            source = _without_empty({"medium": each.get("medium", ""), "sizeLimit": each.get("sizeLimit", "")})
            self.add(each["volumeName"], {"emptyDir": source}, each["mountPath"])
        if shared := asked.get("enabledSharedMemory"):
            source = _without_empty({"medium": "Memory", "sizeLimit": shared.get("size", "")})
            self.add(shared.get("volumeName") or "shm", {"emptyDir": source}, "/dev/shm")  # noqa: S108  where it is


def claim(parameters: Mapping[str, Any], name: str, namespace: str) -> dict[str, Any]:
    """Return the volume claim that the component ``kubernetes.CreatePVC`` asks for with its `parameters`."""
    known = {
        "accessModes": parameters.get("access_modes"),
        "size": parameters.get("size"),
        "storageClassName": parameters.get("storage_class_name"),
        "volumeName": parameters.get("volume_name"),
        "dataSource": parameters.get("data_source"),
        "defaultStorageClass": parameters.get("storage_class_name") is None,
    }
    metadata = {"name": name, "namespace": namespace, "annotations": parameters.get("annotations") or {}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _without_empty(metadata),
        "spec": _claim({key: value for key, value in known.items() if value is not None}),
    }


def _claim(asked: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "accessModes": asked.get("accessModes", []),
        "resources": {"requests": {"storage": asked.get("size", "")}},
        "volumeName": asked.get("volumeName", ""),
        "dataSource": asked.get("dataSource", {}),
    }
    spec = _without_empty(spec)
    if not asked.get("defaultStorageClass"):
        spec["storageClassName"] = asked.get("storageClassName", "")  # "" is a class: the one of volumes made by hand
    return spec


def _environment(command: Command, env: Mapping[str, str]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"name": name, "value": _literal(value)} for name, value in {**env, **command.env}.items()
    ]
    asked = command.platform
    for entry in asked.get("secretAsEnv", ()):
        for pair in entry.get("keyToEnv", ()):
            made.append(_from("secretKeyRef", pair["envVar"], entry["secretName"], pair["secretKey"], entry))
    for entry in asked.get("configMapAsEnv", ()):
        for pair in entry.get("keyToEnv", ()):
            made.append(_from("configMapKeyRef", pair["envVar"], entry["configMapName"], pair["configMapKey"], entry))
    for entry in asked.get("fieldPathAsEnv", ()):
        made.append({"name": entry["name"], "valueFrom": {"fieldRef": {"fieldPath": entry["fieldPath"]}}})
    return made


def _from(kind: str, variable: str, name: str, key: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    optional = {"optional": entry["optional"]} if "optional" in entry else {}
    return {"name": variable, "valueFrom": {kind: {"name": name, "key": key, **optional}}}


def _literal(text: str) -> str:
    """Return a text that the cluster leaves as it is: in commands and variables it replaces $(NAME), and $$ by $."""
    return text.replace("$", "$$")


def _resources(command: Command) -> dict[str, Any]:
    limits, stated = command.limits, command.resources
    most = {
        "cpu": f"{math.ceil(limits.cpus * 1000)}m" if limits.cpus else "",
        "memory": str(limits.memory) if limits.memory else "",
    }
    if stated.accelerator_type and stated.accelerator_count not in ("", "0"):
        most[stated.accelerator_type] = stated.accelerator_count
    least = {"cpu": stated.cpu_request, "memory": stated.memory_request}
    return _without_empty({"limits": _without_empty(most), "requests": _without_empty(least)})


def _init_container(each: Mapping[str, Any]) -> dict[str, Any]:
    plain = ("name", "restartPolicy", "resources")
    return _without_empty(
        {
            **{key: each[key] for key in plain if key in each},
            "image": by_digest(each.get("image", ""), f"that of the init container '{each.get('name', '')}'"),
            "command": [_literal(word) for word in each.get("command", ())],
            "args": [_literal(word) for word in each.get("args", ())],
            "env": [
                {"name": entry["name"], "value": _literal(entry.get("value", ""))} for entry in each.get("env", ())
            ],
            "volumeMounts": [
                {"name": mount["volumeName"], "mountPath": mount["mountPath"]} for mount in each.get("volumeMounts", ())
            ],
            "securityContext": NOT_PRIVILEGED,
        }
    )


def _without_empty(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value not in ("", [], {}, None)}
