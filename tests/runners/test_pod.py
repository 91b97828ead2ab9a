"""The manifest of a step's pod, held to the official client's models and to what the KFP backend makes of the same settings."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from fleetml.errors import ConfigurationError
from fleetml.images import Image
from fleetml.pipeline import platform_grammar
from fleetml.pipeline.model import Resources
from fleetml.runners import Command, Limits
from fleetml.runners.pod import FEATURES, Place, claim, manifest
from tests.cluster import IMAGE, check_model, check_pod

HOME = Path("/data/fleetml")
COMMAND = Command(("python", "-c", "pass"), Image("ml", Path(), reference=IMAGE, digest=IMAGE.rpartition("@")[2]))


def made(command: Command = COMMAND, place: Place = Place(), **asked: Any) -> dict[str, Any]:  # noqa: B008
    """Return the pod's manifest, checked."""
    body = manifest(replace(command, platform=asked), "pod-1", place, 2.5)
    check_model(body, "V1Pod")
    check_pod(body)
    return body


def step(body: dict[str, Any]) -> dict[str, Any]:
    (container,) = body["spec"]["containers"]
    return dict(container)


def test_a_pod_runs_its_command_once_as_us_and_with_no_privilege() -> None:
    body = made()
    assert (body["apiVersion"], body["kind"], body["metadata"]) == (
        "v1",
        "Pod",
        {"name": "pod-1", "namespace": "default"},
    )
    spec, container = body["spec"], step(body)
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"]) == ("Never", 3)
    assert not spec["automountServiceAccountToken"]
    assert not spec["enableServiceLinks"]  # they would be variables that nobody declared
    assert (container["image"], container["command"]) == (IMAGE, ["python", "-c", "pass"])
    security = container["securityContext"]
    assert (security["runAsUser"], security["capabilities"]) == (os.getuid(), {"drop": ["ALL"]})
    assert "activeDeadlineSeconds" not in spec


def test_an_image_s_own_entry_point_is_left_to_it() -> None:
    container = step(made(replace(COMMAND, own_entry=True)))
    assert "command" not in container
    assert container["args"] == ["python", "-c", "pass"]


def test_texts_that_a_cluster_would_expand_arrive_as_they_are() -> None:
    container = step(made(replace(COMMAND, argv=("sh", "-c", "echo $(HOME) $$"), env={"A": "$(B)"})))
    assert container["command"][2] == "echo $$(HOME) $$$$"
    assert {"name": "A", "value": "$$(B)"} in container["env"]


def test_limits_and_requests() -> None:
    resources = Resources("500m", "1", "1Gi", "2Gi", "nvidia.com/gpu", "2")
    body = made(replace(COMMAND, limits=Limits(1.5, 2**31, 59.2), resources=resources))
    assert step(body)["resources"] == {
        "limits": {"cpu": "1500m", "memory": "2147483648", "nvidia.com/gpu": "2"},
        "requests": {"cpu": "500m", "memory": "1Gi"},
    }
    assert body["spec"]["activeDeadlineSeconds"] == 60


def test_folders_of_every_node() -> None:
    command = replace(COMMAND, readable=(HOME / "in", HOME / "out/x"), writable=(HOME / "out",))
    body = made(command)
    mounts = {mount["mountPath"]: mount["readOnly"] for mount in step(body)["volumeMounts"]}
    assert mounts == {str(HOME / "in"): True, str(HOME / "out"): False}
    assert {volume["hostPath"]["path"] for volume in body["spec"]["volumes"]} == set(mounts)


def test_folders_of_a_shared_volume_claim() -> None:
    place = Place("team", "results", HOME)
    command = replace(COMMAND, readable=(HOME / "results/a",), writable=(HOME / "results/b",))
    body = made(command, place)
    assert body["metadata"]["namespace"] == "team"
    assert [volume["persistentVolumeClaim"] for volume in body["spec"]["volumes"]] == [{"claimName": "results"}]
    mounts = {mount["mountPath"]: (mount["subPath"], mount["readOnly"]) for mount in step(body)["volumeMounts"]}
    assert mounts == {f"{HOME}/results/a": ("results/a", True), f"{HOME}/results/b": ("results/b", False)}
    with pytest.raises(ConfigurationError, match=r"'results', which is /data/fleetml here; /elsewhere is outside"):
        made(replace(command, readable=(Path("/elsewhere"),)), place)


@pytest.mark.parametrize("reference", ["", "python:3.11", "registry.example/x@sha256:123"])
def test_an_image_without_a_digest_is_refused_by_name(reference: str) -> None:
    with pytest.raises(ConfigurationError, match=f"image 'ml' is '{reference}'"):
        made(replace(COMMAND, image=Image("ml", Path(), reference=reference)))


def test_secrets_config_maps_and_fields_are_referred_to() -> None:
    body = made(
        secretAsEnv=[{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "A"}], "optional": True}],
        configMapAsEnv=[{"configMapName": "c", "keyToEnv": [{"configMapKey": "k", "envVar": "B"}]}],
        fieldPathAsEnv=[{"name": "C", "fieldPath": "metadata.name"}],
        secretAsVolume=[{"secretName": "x.y", "mountPath": "/s"}, {"secretName": "x.y", "mountPath": "/t"}],
        configMapAsVolume=[{"configMapName": "c", "mountPath": "/c", "optional": True}],
    )
    assert step(body)["env"] == [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    assert [volume.get("secret", volume.get("configMap")) for volume in body["spec"]["volumes"]] == [
        {"secretName": "x.y", "optional": False},
        {"secretName": "x.y", "optional": False},
        {"name": "c", "optional": True},
    ]


def test_volumes() -> None:
    body = made(
        pvcMount=[{"pvcName": "d", "mountPath": "/a", "subPath": "in"}, {"pvcName": "d", "mountPath": "/b"}],
        emptyDirMounts=[{"volumeName": "e", "mountPath": "/e", "medium": "Memory", "sizeLimit": "1Gi"}],
        enabledSharedMemory={"volumeName": "", "size": "2Gi"},
        genericEphemeralVolume=[
            {"volumeName": "g", "mountPath": "/g", "accessModes": ["ReadWriteOnce"], "size": "5Gi"},
            {
                "volumeName": "h",
                "mountPath": "/h",
                "size": "1Gi",
                "defaultStorageClass": True,
                "metadata": {"labels": {"a": "b"}},
            },
        ],
    )
    volumes = {volume.pop("name"): volume for volume in body["spec"]["volumes"]}
    assert volumes == {
        "d": {"persistentVolumeClaim": {"claimName": "d"}},
        "e": {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        "shm": {"emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
        "g": {
            "ephemeral": {
                "volumeClaimTemplate": {
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": "5Gi"}},
                        "storageClassName": "",
                    }
                }
            }
        },
        "h": {
            "ephemeral": {
                "volumeClaimTemplate": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"resources": {"requests": {"storage": "1Gi"}}},
                }
            }
        },
    }
    assert {mount["mountPath"]: mount.get("subPath") for mount in step(body)["volumeMounts"]} == {
        "/a": "in",
        "/b": None,
        "/e": None,
        "/dev/shm": None,
        "/g": None,
        "/h": None,
    }


def test_where_it_may_run() -> None:
    zone = {"key": "zone", "operator": "In", "values": ["a"]}
    whole = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}}
    body = made(
        nodeSelector={"labels": {"disk": "ssd"}},
        tolerations=[
            {"key": "k", "operator": "Exists"},
            {"tolerationJson": [{"key": "a"}, {"key": "b"}]},
            {"tolerationJson": {}},
        ],
        nodeAffinity=[
            {"matchExpressions": [zone], "weight": 50},
            {"matchFields": [zone]},
            {"nodeAffinityJson": whole},
            {},
        ],
        podAffinity=[
            {"matchPodLabels": {"app": "x"}, "topologyKey": "zone"},
            {"matchPodExpressions": [zone], "topologyKey": "zone", "weight": 5, "anti": True, "namespaces": ["n"]},
        ],
    )
    spec = body["spec"]
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["tolerations"] == [{"key": "k", "operator": "Exists"}, {"key": "a"}, {"key": "b"}]
    assert spec["affinity"] == {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 50, "preference": {"matchExpressions": [zone]}}
            ],
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": [zone]}, {"matchExpressions": [zone]}]
            },
        },
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone"}
            ]
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 5,
                    "podAffinityTerm": {
                        "labelSelector": {"matchExpressions": [zone]},
                        "namespaces": ["n"],
                        "topologyKey": "zone",
                    },
                }
            ]
        },
    }


@pytest.mark.parametrize(
    "given", ["requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"]
)
def test_an_affinity_that_is_none_is_refused_with_what_it_is(given: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"nodeAffinityJson must be a NodeAffinity .*{given}"):
        made(nodeAffinity=[{"nodeAffinityJson": {given: "zone a"}}])


def test_settings_that_ask_for_nothing_leave_nothing() -> None:
    empty = made(nodeAffinity=[{"nodeAffinityJson": {}}], nodeSelector={}, podMetadata={}, imagePullPolicy="")
    assert empty == made()


def test_what_the_pod_and_its_image_are_called() -> None:
    body = made(
        podMetadata={"labels": {"a": "b"}, "annotations": {"c": "d"}},
        imagePullSecret=[{"secretName": "r"}],
        imagePullPolicy="Always",
        securityContext={"runAsUser": 65534, "runAsNonRoot": True},
    )
    assert body["metadata"] == {
        "name": "pod-1",
        "namespace": "default",
        "labels": {"a": "b"},
        "annotations": {"c": "d"},
    }
    assert body["spec"]["imagePullSecrets"] == [{"name": "r"}]
    assert step(body)["imagePullPolicy"] == "Always"
    security = step(body)["securityContext"]
    assert (security["runAsUser"], security["runAsNonRoot"], security["runAsGroup"]) == (65534, True, os.getgid())


def test_init_containers_share_the_volumes_and_have_images_by_digest() -> None:
    first = {
        "name": "first",
        "image": IMAGE,
        "command": ["sh", "-c"],
        "args": ["echo $(A)"],
        "env": [{"name": "A", "value": "b"}],
        "volumeMounts": [{"volumeName": "e", "mountPath": "/e"}],
        "restartPolicy": "Always",
        "resources": {"limits": {"cpu": "1"}},
    }
    (found,) = made(emptyDirMounts=[{"volumeName": "e", "mountPath": "/e"}], initContainers=[first])["spec"][
        "initContainers"
    ]
    assert found["volumeMounts"] == [{"name": "e", "mountPath": "/e"}]
    assert (found["args"], found["restartPolicy"]) == (["echo $$(A)"], "Always")
    with pytest.raises(ConfigurationError, match=r"that of the init container 'first' is 'busybox:1\.36'"):
        made(initContainers=[{**first, "image": "busybox:1.36"}])


def test_every_feature_of_the_platform_is_one_of_the_runner() -> None:
    assert frozenset(platform_grammar.FEATURES) == FEATURES


@pytest.mark.parametrize(
    ("parameters", "spec"),
    [
        ({"storage_class_name": "fast"}, {"storageClassName": "fast"}),
        ({"storage_class_name": ""}, {"storageClassName": ""}),
        ({}, {}),
        (
            {"volume_name": "v", "data_source": {"kind": "S", "name": "n"}},
            {"volumeName": "v", "dataSource": {"kind": "S", "name": "n"}},
        ),
    ],
)
def test_a_claim_is_what_the_component_asks_for(parameters: dict[str, Any], spec: dict[str, Any]) -> None:
    body = claim({"access_modes": ["ReadWriteOnce"], "size": "5Gi", **parameters}, "c", "team")
    check_model(body, "V1PersistentVolumeClaim")
    assert body["metadata"] == {"name": "c", "namespace": "team"}
    assert body["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}, **spec}
