"""What happens to a pod, and what its runner makes of it; against a stand-in for a cluster, for none can be had here."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from fleetml.errors import ConfigurationError, Unavailable
from fleetml.images import Image
from fleetml.runners import Command, Exit, choice, container
from fleetml.runners.kubernetes import KubernetesRunner
from fleetml.runners.pod import Place, manifest
from fleetml.settings import Settings
from tests.cluster import IMAGE, Cluster

RUNNER = KubernetesRunner(grace=0.5)
ML = Image("fleetml/ml", Path(), reference=IMAGE, digest=IMAGE.rpartition("@")[2])
Go = Callable[..., tuple[Exit, list[str]]]


@pytest.fixture
def go(cluster: Cluster, tmp_path: Path) -> Go:
    """Return a function that runs Python code as a pod; what it asks of its cluster by name."""

    def go(
        code: str = "print('ran')",
        runner: KubernetesRunner = RUNNER,
        cancel: Any = None,
        hear: Any = None,
        **asked: Any,
    ):
        lines: list[str] = []

        def on_line(line: str) -> None:
            lines.append(line)
            if hear:
                hear(line)

        command = Command(("python", "-c", code), asked.pop("image", ML), writable=(tmp_path,), platform=asked)
        return runner.run(command, on_line, cancel or threading.Event()), lines

    return go


def only(cluster: Cluster) -> Any:
    (pod,) = cluster.pods.values()
    return pod


def gone(cluster: Cluster) -> bool:
    """Whether no pod is left, at most a moment later."""
    with cluster.changed:
        return cluster.changed.wait_for(lambda: not cluster.pods, 10)


def test_pods_bear_our_label_and_are_gone_afterwards(go: Go, cluster: Cluster) -> None:
    exit, lines = go(podMetadata={"labels": {"team": "a"}})
    assert (exit.succeeded, lines) == (True, ["ran"])
    metadata = cluster.created[0]["metadata"]
    assert metadata["labels"] == {"team": "a", "app.kubernetes.io/managed-by": "fleetml"}
    assert metadata["annotations"] == {"fleetml/owner": container.owner()}
    assert gone(cluster)


def test_what_a_process_that_is_no_more_left_running_is_deleted(cluster: Cluster) -> None:
    cluster.unschedulable = "so that they wait"
    host, pid, start = container.owner().split()
    owners = {
        "a": f"{host} {2**22 + 1} {start}",
        "b": f"{host} {pid} earlier/1",
        "c": f"other {pid} {start}",
        "d": container.owner(),
    }
    for name, owner in owners.items():
        body = manifest(Command(("true",), ML), name, Place(), 0.5)
        labels = {"app.kubernetes.io/managed-by": "fleetml"}
        body["metadata"] |= {"labels": labels, "annotations": {"fleetml/owner": owner}}
        cluster.create(body)
    asked = executor_input(Path(), pvc_name="none")  # whatever connects
    RUNNER.run(Command((asked,), ML, platform={"deletePvc": {}}), print, threading.Event())
    with cluster.changed:
        assert cluster.changed.wait_for(lambda: set(cluster.pods) == {"c", "d"}, 10)


def test_settings_say_where_pods_are(project: Settings) -> None:
    environ = {"FLEETML_PROJECT": str(project.project), "FLEETML_RUNNER": "kubernetes"}
    environ |= {"FLEETML_KUBERNETES_NAMESPACE": "team", "FLEETML_KUBERNETES_VOLUME_CLAIM": "results"}
    settings = Settings.from_environment(environ)
    runner = choice.choose(settings, 3.0)
    assert isinstance(runner, KubernetesRunner)
    assert (runner.place, runner.grace) == (Place("team", "results", settings.home), 3.0)
    assert {settings.serving_dir, settings.feature_store} < {*runner.mounts}


@pytest.mark.parametrize(
    ("feature", "entry"),
    [
        ("secretAsEnv", {"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "A"}]}),
        ("configMapAsEnv", {"configMapName": "s", "keyToEnv": [{"configMapKey": "k", "envVar": "A"}]}),
    ],
)
def test_secrets_and_config_maps_arrive_and_a_missing_one_is_named(
    go: Go, cluster: Cluster, feature: str, entry: dict[str, Any]
) -> None:
    cluster.secrets = cluster.config_maps = {"s": {"k": "hush hush"}}
    code = "import os; print(os.environ.get('A'))"
    assert go(code, **{feature: [entry]})[1] == ["hush hush"]
    assert "hush hush" not in json.dumps(cluster.created)
    cluster.secrets = cluster.config_maps = {}
    assert go(code, **{feature: [{**entry, "optional": True}]})[1] == ["None"]
    with pytest.raises(ConfigurationError, match=r'CreateContainerConfigError: (secret|configmap) "s" not found'):
        go(code, **{feature: [entry]})
    assert gone(cluster)


def test_a_pod_knows_of_itself(go: Go) -> None:
    labels = {"podMetadata": {"labels": {"a": "b"}}}
    fields = [{"name": "A", "fieldPath": "metadata.labels['a']"}]
    assert go("import os; print(os.environ['A'])", **labels, fieldPathAsEnv=fields)[1] == ["b"]


def test_dollars_arrive_as_they_are(go: Go) -> None:
    assert go("print('$(PATH) $$ $')")[1] == ["$(PATH) $$ $"]


def test_an_image_that_is_nowhere_is_named(go: Go, cluster: Cluster) -> None:
    other = IMAGE.replace("fleetml-ml", "nowhere")
    with pytest.raises(ConfigurationError, match=r"nowhere.*cannot start: ErrImagePull: .*not found"):
        go(image=replace(ML, reference=other))
    assert gone(cluster)


def test_tags_are_refused_before_anything_is_asked(project: Settings, cluster: Cluster) -> None:
    images = choice.images(project, RUNNER)
    with pytest.raises(ConfigurationError, match=r"by its digest.*image 'python:3\.11' is 'python:3\.11'"):
        images.resolve("python:3.11")
    with pytest.raises(ConfigurationError, match="image 'fleetml/ml' is ''"):
        images.resolve("fleetml/ml")
    assert images.resolve(IMAGE).digest == IMAGE.rpartition("@")[2]
    assert cluster.requests == []


def test_a_full_cluster_is_waited_for_and_said_so(go: Go, cluster: Cluster) -> None:
    cluster.unschedulable = "0/3 nodes are available: 3 Insufficient memory"

    def free(line: str) -> None:
        cluster.unschedulable = ""

    exit, lines = go(hear=free)
    assert exit.succeeded
    assert "waits: Unschedulable: 0/3 nodes are available" in lines[0]
    assert lines[1:] == ["ran"]


def test_a_cluster_that_stays_full_is_unavailable(go: Go, cluster: Cluster) -> None:
    cluster.unschedulable = "0/3 nodes are available"
    with pytest.raises(Unavailable, match=r"start within 0 s.*0/3 nodes are available"):
        go(runner=replace(RUNNER, patience=0.2))
    cluster.unschedulable = ""
    assert gone(cluster)


def test_a_cancel_while_it_waits_ends_it(go: Go, cluster: Cluster) -> None:
    cluster.unschedulable, cancel = "full", threading.Event()
    exit, _ = go(cancel=cancel, hear=lambda line: cancel.set())
    assert (exit.ended, exit.status) == ("cancelled", -signal.SIGKILL)
    assert not cluster.pods


def test_a_log_that_breaks_off_is_taken_up_again_without_a_line_twice(go: Go, cluster: Cluster) -> None:
    cluster.cut_logs = 2
    code = "import time\nfor n in range(6): print(n, flush=True); time.sleep(0.2)"
    exit, lines = go(code)
    assert exit.succeeded
    assert lines == [str(n) for n in range(6)]
    assert cluster.cut_logs == 0


def test_a_busy_cluster_is_asked_again(go: Go, cluster: Cluster) -> None:
    cluster.busy = 2
    assert go()[1] == ["ran"]


def test_what_the_cluster_refuses_is_said_in_its_words(go: Go) -> None:
    with pytest.raises(ConfigurationError, match=r"refuses \(422\): .*metadata\.labels\.team: Invalid value: a b"):
        go(podMetadata={"labels": {"team": "a b"}})


def test_another_namespace_is_refused_in_words(go: Go) -> None:
    with pytest.raises(ConfigurationError, match=r"refuses \(404\): namespaces \"nowhere\" not found"):
        go(runner=replace(RUNNER, place=Place("nowhere")))


def test_a_pod_that_somebody_deletes_is_no_result(go: Go, cluster: Cluster) -> None:
    def delete(line: str) -> None:
        only(cluster).delete(0)

    with pytest.raises(Unavailable, match=r"took fleetml-[0-9a-f]+ away .somebody deleted it"):
        go("print('on', flush=True); import time; time.sleep(600)", hear=delete)


def test_a_pod_that_is_evicted_is_no_result(go: Go, cluster: Cluster) -> None:
    def evict(line: str) -> None:
        pod = only(cluster)
        pod.body["status"] |= {"reason": "Evicted", "message": "The node was low on resource: memory."}
        pod.end(0)

    with pytest.raises(Unavailable, match="Evicted: The node was low on resource"):
        go("print('on', flush=True); import time; time.sleep(600)", hear=evict)


def test_usage_is_what_the_metrics_server_tells(go: Go, cluster: Cluster) -> None:
    asked = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/"
    exit, _ = go("x = sum(n * n for n in range(3_000_000))")
    assert exit.usage.cpu_seconds > 0.05
    assert any(path.startswith(asked) for _, path in cluster.requests)


def executor_input(folder: Path, **parameters: Any) -> str:
    outputs = {"parameters": {"name": {"outputFile": str(folder / ".parameters/name")}}}
    return json.dumps({"inputs": {"parameterValues": parameters}, "outputs": outputs})


def test_claims_are_made_and_deleted_by_the_cluster_itself(cluster: Cluster, tmp_path: Path) -> None:
    asked = executor_input(tmp_path, access_modes=["ReadWriteMany"], size="1Gi", pvc_name_suffix="-data")
    command = Command((asked,), Image("argostub/createpvc", Path()), platform={"createPvc": {}})
    assert RUNNER.run(command, print, threading.Event()).succeeded
    name = (tmp_path / ".parameters/name").read_text()
    assert list(cluster.claims) == [name]
    assert name.endswith("-data")
    command = Command((executor_input(tmp_path, pvc_name=name),), command.image, platform={"deletePvc": {}})
    for _ in range(2):  # one that is gone is gone
        assert RUNNER.run(command, print, threading.Event()).succeeded
    assert cluster.claims == {}
    assert cluster.created == []


def test_a_claim_that_is_there_already_is_not_taken_over(cluster: Cluster, tmp_path: Path) -> None:
    asked = executor_input(tmp_path, access_modes=["ReadWriteMany"], size="1Gi", pvc_name="data")
    command = Command((asked,), Image("argostub/createpvc", Path()), platform={"createPvc": {}})
    assert RUNNER.run(command, print, threading.Event()).succeeded
    with pytest.raises(ConfigurationError, match=r'refuses \(409\): persistentvolumeclaims "data" already exists'):
        RUNNER.run(command, print, threading.Event())


def test_claims_have_no_image_to_pin() -> None:
    assert RUNNER.pin("argostub/createpvc", local=False) == ""


def test_no_cluster_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match=r"needs a cluster, none is configured.*set KUBECONFIG"):
        RUNNER.run(Command(("true",), ML), print, threading.Event())


def test_a_cluster_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Cluster() as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path)))
    monkeypatch.setattr("fleetml.runners.cluster._TRIES", (0.0,))
    with pytest.raises(Unavailable, match="the cluster does not answer"):
        RUNNER.run(Command(("true",), ML), print, threading.Event())
