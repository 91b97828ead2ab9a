"""The grammar of what a step asks of its cluster: kubernetes_executor_config.proto of kubeflow/pipelines, in its JSON form."""

from __future__ import annotations

from fleetml.pipeline.ir import NUMBER, TEXT, TRUTH, VALUE, ListOf, MapOf, Unsupported

_TASK_OUTPUT = {"producerTask": TEXT, "outputParameterKey": TEXT}
REFERENCE = {
    "taskOutputParameter": _TASK_OUTPUT,
    "componentInputParameter": TEXT,
    "runtimeValue": {"constant": VALUE},
    "parameterExpressionSelector": TEXT,
}
_SECRET = {"secretName": TEXT, "secretNameParameter": REFERENCE}
_CONFIG_MAP = {"configMapName": TEXT, "configMapNameParameter": REFERENCE}
_VOLUME = {"mountPath": TEXT, "optional": TRUTH}
_REQUIREMENTS = ListOf({"key": TEXT, "operator": TEXT, "values": ListOf(TEXT)})
_METADATA = {"labels": MapOf(TEXT), "annotations": MapOf(TEXT)}
# kubernetes_executor_config.proto of kubeflow/pipelines; protojson writes 64-bit integers as texts.
FEATURES = {
    "secretAsVolume": ListOf({**_SECRET, **_VOLUME}),
    "secretAsEnv": ListOf({**_SECRET, "keyToEnv": ListOf({"secretKey": TEXT, "envVar": TEXT}), "optional": TRUTH}),
    "configMapAsVolume": ListOf({**_CONFIG_MAP, **_VOLUME}),
    "configMapAsEnv": ListOf(
        {**_CONFIG_MAP, "keyToEnv": ListOf({"configMapKey": TEXT, "envVar": TEXT}), "optional": TRUTH}
    ),
    "pvcMount": ListOf(
        {
            "pvcNameParameter": REFERENCE,
            "taskOutputParameter": _TASK_OUTPUT,
            "componentInputParameter": TEXT,
            "constant": TEXT,
            "mountPath": TEXT,
            "subPath": TEXT,
        }
    ),
    "nodeSelector": {"labels": MapOf(TEXT), "nodeSelectorJson": REFERENCE},
    "podMetadata": _METADATA,
    "imagePullSecret": ListOf(_SECRET),
    "imagePullPolicy": TEXT,
    "activeDeadlineSeconds": VALUE,
    "fieldPathAsEnv": ListOf({"name": TEXT, "fieldPath": TEXT}),
    "tolerations": ListOf(
        {
            "key": TEXT,
            "operator": TEXT,
            "value": TEXT,
            "effect": TEXT,
            "tolerationSeconds": VALUE,
            "tolerationJson": REFERENCE,
        }
    ),
    "genericEphemeralVolume": ListOf(
        {
            "volumeName": TEXT,
            "mountPath": TEXT,
            "accessModes": ListOf(TEXT),
            "size": TEXT,
            "defaultStorageClass": TRUTH,
            "storageClassName": TEXT,
            "metadata": _METADATA,
        }
    ),
    "nodeAffinity": ListOf(
        {
            "matchExpressions": _REQUIREMENTS,
            "matchFields": _REQUIREMENTS,
            "weight": VALUE,
            "nodeAffinityJson": REFERENCE,
        }
    ),
    "podAffinity": ListOf(
        {
            "matchPodExpressions": _REQUIREMENTS,
            "matchPodLabels": MapOf(TEXT),
            "topologyKey": TEXT,
            "namespaces": ListOf(TEXT),
            "matchNamespaceExpressions": _REQUIREMENTS,
            "matchNamespaceLabels": MapOf(TEXT),
            "weight": VALUE,
            "anti": TRUTH,
        }
    ),
    "enabledSharedMemory": {"volumeName": TEXT, "size": TEXT},
    "emptyDirMounts": ListOf({"volumeName": TEXT, "mountPath": TEXT, "medium": TEXT, "sizeLimit": TEXT}),
    "securityContext": {"runAsUser": VALUE, "runAsGroup": VALUE, "runAsNonRoot": TRUTH},
    "initContainers": ListOf(
        {
            "name": TEXT,
            "image": TEXT,
            "command": ListOf(TEXT),
            "args": ListOf(TEXT),
            "env": ListOf({"name": TEXT, "value": TEXT}),
            "volumeMounts": ListOf({"volumeName": TEXT, "mountPath": TEXT}),
            "restartPolicy": TEXT,
            "resources": {"requests": MapOf(TEXT), "limits": MapOf(TEXT)},
        }
    ),
}
_PIPELINE = {
    # How long a cluster keeps its own record of a run: nothing there is anywhere else.
    "resourceTtlOnCompletion": NUMBER,
    "resourceTtlOnSuccess": NUMBER,
    "resourceTtlOnFailure": NUMBER,
    "workspace": {"size": TEXT, "kubernetes": {"pvcSpecPatch": MapOf(VALUE)}},
    "activeDeadlineSeconds": Unsupported("a time limit of a whole run (set_timeout of a task is run)"),
}
PLATFORM = {
    "deploymentSpec": {"executors": MapOf(FEATURES)},
    "pipelineConfig": _PIPELINE,
    "platform": TEXT,
    "config": Unsupported("the settings of another platform"),
}
# What an entry of a list cannot do without; names of things are looked after where they are read.
NEEDED = {
    "secretAsVolume": ("mountPath",),
    "configMapAsVolume": ("mountPath",),
    "pvcMount": ("mountPath",),
    "secretAsEnv.keyToEnv": ("secretKey", "envVar"),
    "configMapAsEnv.keyToEnv": ("configMapKey", "envVar"),
    "fieldPathAsEnv": ("name", "fieldPath"),
    "genericEphemeralVolume": ("volumeName", "mountPath", "size"),
    "emptyDirMounts": ("volumeName", "mountPath"),
    "podAffinity": ("topologyKey",),
    "initContainers": ("name", "image"),
    "initContainers.env": ("name",),
    "initContainers.volumeMounts": ("volumeName", "mountPath"),
}
