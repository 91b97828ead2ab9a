"""The server over real gRPC: forecasts, refusals, health, reflection, swaps, the end."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pyarrow.dataset as ds
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from fleetml.errors import FleetMLError, InvalidParameter, Unavailable
from fleetml.learn.windows import Meta
from fleetml.serving import deployment, online
from fleetml.serving.client import Client, Node
from fleetml.serving.contract import SERVICE
from fleetml.serving.deployment import Card
from fleetml.serving.errors import NotImplementedYet
from fleetml.stack.processes import wait_until

HISTORY = [float(value) for value in range(12)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "serving"


def put(root: Path, graph: Path, version: str, name: str = "bandwidth") -> None:
    """Deploy without the deploy stage."""
    card = Card(name, version, deployment.digest(graph), mase=0.25)
    deployment.install(root, card, {deployment.GRAPH: graph})
    deployment.point(root, name, version)


def loaded(root: Path, version: str, name: str = "bandwidth") -> bool:
    return bool(deployment.status(root).get("models", {}).get(name, {}).get("version") == version)


@pytest.fixture
def client(root: Path, graph: Callable[..., Path], serve: Callable[..., str]) -> Client:
    put(root, graph(), "1")
    return Client(serve(root))


def test_a_forecast_is_cut_to_the_horizon_and_names_its_version(client: Client) -> None:
    answer = client.predict_bandwidth("vm-1", HISTORY, 10)
    assert answer.values == (11.0, 11.0)
    assert (answer.model_version, answer.confidence) == ("1", 0.8)


def test_minutes_between_steps_are_rounded_up(client: Client) -> None:
    assert [len(client.predict_bandwidth("vm-1", HISTORY, minutes).values) for minutes in (1, 5, 6, 20)] == [1, 1, 2, 4]


def test_of_a_long_history_the_last_values_count(client: Client) -> None:
    assert client.predict_bandwidth("vm-1", [1e9] * 100 + HISTORY, 5).values == (11.0,)


@pytest.mark.parametrize(
    ("vm", "history", "minutes", "words"),
    [
        ("vm-1", HISTORY, 0, "from 1 to 20"),
        ("vm-1", HISTORY, -5, "from 1 to 20"),
        ("vm-1", HISTORY, 21, "from 1 to 20"),
        ("vm-1", HISTORY[:11], 5, "at least 12 values"),
        ("vm-1", [], 5, "at least 12 values"),
        ("vm-1", [*HISTORY[:-1], float("nan")], 5, "finite and not negative, got nan at place -1"),
        ("vm-1", [float("inf"), *HISTORY[1:]], 5, "got inf at place -12"),
        ("vm-1", [*HISTORY[:-1], -1.0], 5, "got -1.0"),
        ("vm-1", [*HISTORY[:-1], 1e300], 5, "finite"),
        ("", HISTORY, 5, "empty vm_id"),
    ],
)
def test_a_bad_request_is_refused_with_the_rule(
    client: Client, vm: str, history: list[float], minutes: int, words: str
) -> None:
    with pytest.raises(InvalidParameter, match=words):
        client.predict_bandwidth(vm, history, minutes)


def test_any_model_is_asked_by_its_name(client: Client, root: Path, graph: Callable[..., Path]) -> None:
    with pytest.raises(Unavailable, match="model 'cpu' must be deployed"):
        client.forecast("cpu", "vm-1", HISTORY, 5)
    put(root, graph(add=2, meta=Meta("cpu", context=12, horizon=4, season=6)), "7", "cpu")
    assert wait_until(lambda: loaded(root, "7", "cpu"), 60, 0.02)
    answer = client.forecast("cpu", "vm-1", HISTORY, 5)
    assert (answer.values, answer.model_version) == ((13.0,), "7")
    with pytest.raises(InvalidParameter, match="needs the name of a model"):
        client.forecast("", "vm-1", HISTORY, 5)


def test_covariates_sent_along_are_used(client: Client) -> None:
    assert client.forecast("bandwidth", "vm-1", HISTORY, 5, {"vm_metrics:cpu_usage": 30.0}).values == (41.0,)
    assert client.forecast("bandwidth", "vm-1", HISTORY, 5).values == (11.0,)
    with pytest.raises(InvalidParameter, match="vm_metrics:nonsense"):
        client.forecast("bandwidth", "vm-1", HISTORY, 5, {"vm_metrics:nonsense": 1.0})


def test_without_a_model_it_is_alive_but_not_serving(root: Path, serve: Callable[..., str]) -> None:
    with Client(serve(root)) as client:
        assert client.healthy()
        assert not client.healthy(SERVICE)
        with pytest.raises(Unavailable, match="make run TARGET=bandwidth"):
            client.predict_bandwidth("vm-1", HISTORY, 5)
        with pytest.raises(Unavailable, match="fleetml run dags/train_window_anomaly"):
            client.infer("window_anomaly", {"metrics": np.zeros((1, 5, 6), np.float32)})


def test_with_a_model_it_is_serving(client: Client) -> None:
    assert client.healthy(SERVICE)
    assert not client.healthy("no.such.Service")


def test_rpcs_without_a_model_say_so(client: Client) -> None:
    with pytest.raises(Unavailable, match="model 'placement' must be deployed"):
        client.optimize_placement("job", {"cpu": 1}, [Node("a")])
    with pytest.raises(Unavailable, match="model 'anomaly' must be deployed"):
        client.detect_anomaly("vm-1", {"cpu": 1})


def test_the_contract_can_be_reflected(client: Client) -> None:
    database = ProtoReflectionDescriptorDatabase(grpc.insecure_channel(client.address))
    assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
    assert database.FindFileContainingSymbol(SERVICE).package == "novacron.ai"


def test_messages_of_megabytes_pass_and_beyond_ten_do_not(client: Client) -> None:
    assert client.predict_bandwidth("vm-1", [1.0] * 1_200_000, 5).values == (1.0,)
    with pytest.raises(FleetMLError, match="larger than max"):
        client.predict_bandwidth("vm-1", [1.0] * 1_400_000, 5)


def test_a_new_version_is_swapped_in_without_a_failed_request(
    client: Client, root: Path, graph: Callable[..., Path]
) -> None:
    end, answers, failures = threading.Event(), [], []

    def ask() -> None:
        with Client(client.address) as mine:
            while not end.is_set():
                try:
                    answer = mine.predict_bandwidth("vm-1", HISTORY, 5)
                    answers.append((answer.model_version, answer.values))
                except FleetMLError as error:
                    failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in ("2", "3", "4"):
        put(root, graph(add=float(version)), version)
        assert wait_until(lambda wanted=version: answers and answers[-1][0] == wanted, 60, 0.01)
    end.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(answers) == {("1", (11.0,)), ("2", (13.0,)), ("3", (14.0,)), ("4", (15.0,))}


def test_a_broken_version_is_refused_and_the_old_one_serves_on(
    client: Client, root: Path, tmp_path: Path, graph: Callable[..., Path]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    put(root, broken, "2")
    assert wait_until(lambda: bool(deployment.status(root)["refused"]), 60, 0.02)
    refused = deployment.status(root)["refused"]["bandwidth"]
    assert refused["version"] == "2"
    assert "ONNX Runtime must load" in refused["error"]
    assert client.predict_bandwidth("vm-1", HISTORY, 5).model_version == "1"
    assert client.healthy(SERVICE)
    put(root, graph(), "3")
    assert wait_until(lambda: loaded(root, "3"), 60, 0.02)
    assert deployment.status(root)["refused"] == {}


def test_a_graph_of_another_target_or_changed_on_disk_is_refused(
    root: Path, graph: Callable[..., Path], serve: Callable[..., str]
) -> None:
    put(root, graph(meta=Meta("cpu", context=12, horizon=4, season=6)), "1")
    with Client(serve(root)) as client:
        with pytest.raises(Unavailable, match="refused: model bandwidth must forecast bandwidth"):
            client.predict_bandwidth("vm-1", HISTORY, 5)
        put(root, graph(), "2")
        (root / "models/bandwidth/2/model.onnx").write_bytes(graph(add=1).read_bytes())
        deployment.restore(root, "bandwidth", "2", deployment.Deployed("2", "models/bandwidth/2/model.onnx", "0" * 64))
        told = wait_until(lambda: "SHA-256" in str(deployment.status(root)["refused"]), 60, 0.02)
        assert told


def test_a_broken_or_missing_deployment_file_changes_what_it_must(client: Client, root: Path) -> None:
    good = (root / "deployment.json").read_text()
    (root / "deployment.json").write_text("{")
    assert client.predict_bandwidth("vm-1", HISTORY, 5).model_version == "1"
    (root / "deployment.json").write_text(good)
    deployment.restore(root, "bandwidth", "1", None)
    assert wait_until(lambda: not client.healthy(SERVICE), 60, 0.02)
    with pytest.raises(Unavailable, match="deployed: none"):
        client.predict_bandwidth("vm-1", HISTORY, 5)


def test_a_forecast_that_is_no_number_is_an_error_not_an_answer(client: Client, root: Path) -> None:
    with pytest.raises(FleetMLError, match="a forecast must be finite, model bandwidth version 1 makes"):
        client.forecast("bandwidth", "vm-1", [*HISTORY[:-1], 3e38], 5, {"vm_metrics:cpu_usage": 3e38})


def test_an_unknown_failure_keeps_its_text_on_the_server(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetml.serving.forecast.Question.answer", lambda *_: 1 / 0)
    with pytest.raises(FleetMLError, match="its log says why"):
        client.predict_bandwidth("vm-1", HISTORY, 5)


def test_what_clients_ask_is_logged_but_not_probes(
    root: Path, graph: Callable[..., Path], serve: Callable[..., str]
) -> None:
    put(root, graph(), "1")
    address = serve(root)
    with Client(address) as client, Client(address, probe=True) as probe:
        probe.predict_bandwidth("probe", HISTORY, 5)
        client.predict_bandwidth("vm-1", HISTORY, 10)
        with pytest.raises(InvalidParameter):
            client.predict_bandwidth("vm-1", HISTORY, 0)
    log = root / "predictions"
    assert wait_until(lambda: any(log.rglob("*.parquet")), 60, 0.02)
    rows = ds.dataset(log, partitioning="hive", exclude_invalid_files=True).to_table().to_pylist()
    assert [(row["vm_id"], row["model"], row["model_version"], row["predictions"]) for row in rows] == [
        ("vm-1", "bandwidth", "1", [11.0, 11.0])
    ]


def test_it_answers_while_the_first_model_is_still_being_prepared(
    root: Path, graph: Callable[..., Path], serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    go, states = threading.Event(), []

    def slow(folder: Path) -> online.Store:
        go.wait(60)
        return SimpleNamespace(look_up=lambda vm_id, references, at: {})  # type: ignore[return-value]

    monkeypatch.setattr(online, "_open", slow)
    put(root, graph(), "1")

    def ask(address: str) -> None:
        with Client(address) as client:
            states.append((client.healthy(), client.healthy(SERVICE)))
            with pytest.raises(Unavailable, match="must be deployed before"):
                client.predict_bandwidth("vm-1", HISTORY, 5)
        go.set()

    with Client(serve(root, feature_store=root, meanwhile=ask)) as client:
        assert client.predict_bandwidth("vm-1", HISTORY, 5).model_version == "1"
    assert states == [(False, False)]


def test_two_servers_cannot_share_a_port(client: Client, root: Path) -> None:
    port = client.address.rpartition(":")[2]
    command = [sys.executable, "-m", "fleetml.serving", "--dir", str(root / "other"), "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert f"127.0.0.1:{port} for itself" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "fleetml.serving", "--dir", str(tmp_path / "file" / "serving"), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "mend --dir" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_drains_and_writes_the_log(root: Path, graph: Callable[..., Path]) -> None:
    put(root, graph(), "1")
    command = [sys.executable, "-m", "fleetml.serving", "--dir", str(root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        with Client(address) as client:
            assert wait_until(lambda: client.healthy(SERVICE), 60, 0.02)
            for _ in range(20):
                client.predict_bandwidth("vm-1", HISTORY, 5)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    assert ds.dataset(root / "predictions", exclude_invalid_files=True).count_rows() == 20
    assert deployment.status(root) == {}


def test_nobody_there_is_unavailable() -> None:
    with Client("127.0.0.1:1", timeout=2) as client:
        assert not client.healthy()
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            client.predict_bandwidth("vm-1", HISTORY, 5)


def test_status_codes_and_errors_are_one_table() -> None:
    from fleetml.serving import errors

    for kind in (InvalidParameter, Unavailable, NotImplementedYet):
        assert type(errors.error(errors.code(kind("x")), "x")) is kind
