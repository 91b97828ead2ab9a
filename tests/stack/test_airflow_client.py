"""What the client makes of answers that a healthy Airflow seldom gives; tests/e2e asks a real one."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from fleetml.errors import FleetMLError, InvalidParameter, Unavailable
from fleetml.stack import airflow_client, ports
from fleetml.stack.airflow_client import AirflowClient

SILENCE = (0, None)  # it takes the question and does not answer
BUSY = (500, {"detail": {"reason": "Database error", "message": "see the log"}})


class Answers(http.server.ThreadingHTTPServer):
    """Gives the queued answers of each path in turn, the last one again and again; notes what was asked."""

    def __init__(self) -> None:
        super().__init__((ports.HOST, 0), Handler)
        self.queued: dict[str, list[tuple[int, object]]] = {"/auth/token": [(201, {"access_token": "t"})]}
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        self.over = threading.Event()

    def say(self, method_and_path: str, *answers: tuple[int, object]) -> None:
        self.queued[method_and_path] = list(answers)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Answers

    def log_message(self, *arguments: object) -> None:
        pass

    def answer(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        what = f"{self.command} {self.path.removeprefix('/api/v2/')}"
        self.server.asked.append(what)
        answers = self.server.queued.get(what) or self.server.queued[self.path]
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        if status == 0:
            self.server.over.wait(600)
            return
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = answer


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    monkeypatch.setattr(airflow_client, "_LOCKED", (0.0, 0.0))
    monkeypatch.setattr(airflow_client, "_PAUSE", 0.0)
    with Answers() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.fixture
def client(airflow: Answers) -> AirflowClient:
    return AirflowClient(f"http://{ports.HOST}:{airflow.server_address[1]}", "admin", "secret")


def test_a_database_that_is_busy_is_asked_again(airflow: Answers, client: AirflowClient) -> None:
    airflow.say("GET dags/small", (200, {"is_paused": True}))
    airflow.say("PATCH dags/small", BUSY, BUSY, (200, {}))
    airflow.say("POST dags/small/dagRuns", BUSY, (200, {}))
    assert client.trigger("small", {}).startswith("small__")
    assert airflow.asked.count("PATCH dags/small") == 3
    assert airflow.asked.count("POST dags/small/dagRuns") == 2


def test_one_that_stays_busy_is_told(airflow: Answers, client: AirflowClient) -> None:
    airflow.say("GET dags/small", BUSY)
    with pytest.raises(Unavailable, match=r"answered 500 to GET .*Database error"):
        client.trigger("small", {})


@pytest.mark.parametrize("second", [(409, {"detail": "there is one of this id"}), (200, {})], ids=["made", "not made"])
def test_a_run_whose_making_nobody_confirmed_is_asked_for_again_by_its_id(
    second: tuple[int, object], airflow: Answers, client: AirflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_client, "_TIMEOUT", 3.0)
    airflow.say("GET dags/small", (200, {"is_paused": False}))
    airflow.say("POST dags/small/dagRuns", SILENCE, second)
    run_id = client.trigger("small", {"n": 1})
    asked = [json.loads(body) for body in airflow.bodies if b"dag_run_id" in body]
    assert asked == [{"dag_run_id": run_id, "logical_date": None, "conf": {"n": 1}}] * 2


def test_one_that_never_answers_is_told(
    airflow: Answers, client: AirflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_client, "_TIMEOUT", 3.0)
    monkeypatch.setattr(airflow_client, "_TRIGGERS", 1)
    airflow.say("GET dags/small", (200, {"is_paused": False}))
    airflow.say("POST dags/small/dagRuns", SILENCE)
    with pytest.raises(Unavailable, match="took POST /api/v2/dags/small/dagRuns and did not answer for"):
        client.trigger("small", {})


def test_a_run_that_is_there_before_it_was_asked_for_is_another_s(airflow: Answers, client: AirflowClient) -> None:
    airflow.say("GET dags/small", (200, {"is_paused": False}))
    airflow.say("POST dags/small/dagRuns", (409, {"detail": "there is one of this id"}))
    with pytest.raises(Unavailable, match="there is one of this id"):
        client.trigger("small", {})


def test_a_dag_that_is_not_paused_is_left_alone(airflow: Answers, client: AirflowClient) -> None:
    airflow.say("GET dags/small", (200, {"is_paused": False}))
    airflow.say("POST dags/small/dagRuns", (200, {}))
    client.trigger("small", {})
    assert "PATCH dags/small" not in airflow.asked


def test_a_refused_parameter_is_the_user_s_mistake(airflow: Answers, client: AirflowClient) -> None:
    airflow.say("GET dags/small", (200, {"is_paused": False}))
    airflow.say("POST dags/small/dagRuns", (400, {"detail": "Invalid input for param count"}))
    with pytest.raises(InvalidParameter, match="Invalid input for param count"):
        client.trigger("small", {})


def test_an_answer_that_is_no_json_is_told_by_its_status(airflow: Answers, client: AirflowClient) -> None:
    airflow.say("GET dags/small", (502, b"<html>"))
    with pytest.raises(Unavailable, match="answered 502 to GET /api/v2/dags/small: Bad Gateway"):
        client.trigger("small", {})


def test_a_dag_that_cannot_be_loaded_is_told_with_its_error(airflow: Answers, client: AirflowClient) -> None:
    airflow.say("GET dags/small", (404, {"detail": "not found"}))
    airflow.say(
        "GET importErrors", (200, {"import_errors": []}), (200, {"import_errors": [{"stack_trace": "small: bad"}]})
    )
    with pytest.raises(FleetMLError, match="Airflow cannot load small: small: bad"):
        client.wait_for_dag("small")


def test_a_dag_that_never_comes_is_told(airflow: Answers, client: AirflowClient) -> None:
    airflow.say("GET dags/small", (200, {"is_stale": True}))
    airflow.say("GET importErrors", (200, {"import_errors": []}))
    with pytest.raises(Unavailable, match="does not know the DAG small after 0 s"):
        client.wait_for_dag("small", 0.05)


def test_an_event_of_an_asset_nobody_knows_is_told(airflow: Answers, client: AirflowClient) -> None:
    airflow.say("/api/v2/assets?uri_pattern=fleetml%3A%2F%2Fdrift%2Fcpu", (200, {"assets": []}))
    with pytest.raises(Unavailable, match=r"no pipeline in Airflow .* knows fleetml://drift/cpu; add it"):
        client.emit("fleetml://drift/cpu", {})


def test_following_bears_an_airflow_that_is_away_for_a_moment(airflow: Answers, client: AirflowClient) -> None:
    airflow.say("/api/v2/dags/small/dagRuns/r", (503, {}), (200, {"state": "success"}))
    tasks = {"task_instances": [{"task_id": "record", "state": "success", "map_index": -1}], "total_entries": 1}
    airflow.say("/api/v2/dags/small/dagRuns/r/taskInstances?limit=1000&offset=0", (200, tasks))
    assert list(client.follow("small", "r")) == [("record", "success")]


def test_following_gives_up_on_one_that_stays_away(
    airflow: Answers, client: AirflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_client, "_PATIENCE", -1.0)
    airflow.say("/api/v2/dags/small/dagRuns/r", (503, {}))
    with pytest.raises(Unavailable, match="answered 503"):
        list(client.follow("small", "r"))


def test_nobody_there_names_the_remedy() -> None:
    with pytest.raises(Unavailable, match=r"does not answer: .*; start the stack: fleetml up"):
        AirflowClient(f"http://{ports.HOST}:{ports.free()}", "admin", "secret").import_errors()


def test_a_run_of_an_airflow_that_lost_a_process_is_not_waited_for(airflow: Answers, client: AirflowClient) -> None:
    airflow.say("GET dags/d/dagRuns/r", (200, {"state": "running"}))
    airflow.say(
        "GET dags/d/dagRuns/r/taskInstances?limit=1000&offset=0", (200, {"task_instances": [], "total_entries": 0})
    )
    looks = iter([True, True, False])
    with pytest.raises(Unavailable, match=r"has lost a process, so run r does not go on"):
        list(client.follow("d", "r", lambda: next(looks)))
