"""The way to a Kubernetes cluster: a connection per process, and calls that are asked again while it is busy."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetml.errors import ConfigurationError, Unavailable
from fleetml.runners.container import orphaned

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

OURS = {"app.kubernetes.io/managed-by": "fleetml"}  # label of every pod of ours
OWNER = "fleetml/owner"  # its annotation: the process that waits for it
ANSWER = (10, 60)  # s for a connection and for an answer
_TRIES = (0.2, 0.5, 1.0, 2.0, 4.0)  # s between tries when the cluster is busy
_CONNECTIONS = 64  # kept open; a step holds three


def core_of(namespace: str) -> CoreV1Api:
    """Return this process's connection. Raises ConfigurationError where no cluster is configured."""
    usual = Path("~/.kube/config").expanduser()
    config = os.environ.get("KUBECONFIG") or (str(usual) if usual.is_file() else "")
    return _connected(os.getpid(), config, namespace)


@functools.lru_cache(maxsize=2)
def _connected(pid: int, config: str, namespace: str) -> CoreV1Api:
    """Connect once per process (a fork must not share sockets), by a kubeconfig, or ("") as a pod of the cluster.

    Pods that processes of this machine left which are no more are deleted.
    """
    try:
        from kubernetes import client
        from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
    except ImportError:
        raise ConfigurationError("the kubernetes runner needs its client: pip install kubernetes") from None
    settings = client.Configuration()
    settings.connection_pool_maxsize = _CONNECTIONS
    try:
        if config:
            load_kube_config(config, client_configuration=settings)
        else:
            load_incluster_config(client_configuration=settings)
    except (ConfigException, OSError) as error:
        raise ConfigurationError(
            f"the kubernetes runner needs a cluster, none is configured: {error}; set KUBECONFIG, or take --runner subprocess"
        ) from error
    core = client.CoreV1Api(client.ApiClient(settings))
    with contextlib.suppress(Exception):  # somebody else deletes them, or we may not list
        _sweep(core, namespace)
    return core


def _sweep(core: CoreV1Api, namespace: str) -> None:
    ((label, value),) = OURS.items()
    for pod in core.list_namespaced_pod(namespace, label_selector=f"{label}={value}", _request_timeout=ANSWER).items:
        if orphaned((pod.metadata.annotations or {}).get(OWNER, "nobody 0 0")):
            core.delete_namespaced_pod(pod.metadata.name, namespace, _request_timeout=ANSWER)


def ask(call: Callable[..., Any], made: bool = False, gone: bool = False) -> None:
    """Ask the cluster, again while it is busy. `made`, `gone`: what is there already (by a try before), or is no more.

    Raises ConfigurationError for what it refuses, Unavailable where it does not answer.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    error: Exception | None = None
    for pause in (*_TRIES, 0.0):
        try:
            call(_request_timeout=ANSWER)
        except ApiException as answer:
            if (gone and answer.status == 404) or (made and error and answer.status == 409):
                return
            if answer.status != 429 and 400 <= (answer.status or 0) < 500:
                raise ConfigurationError(
                    f"the cluster refuses ({answer.status}): {_said(answer)}; correct the step's settings, or your rights"
                ) from answer
            error = answer
        except HTTPError as silence:
            error = silence
        else:
            return
        time.sleep(pause)
    raise Unavailable(f"the cluster does not answer: {error}; see to it and resume") from error


def _said(error: Any) -> str:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(error.body)["message"])
    return str(error.reason)
