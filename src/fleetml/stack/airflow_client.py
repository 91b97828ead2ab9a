"""What the CLI asks of Airflow, over its public REST API."""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetml.errors import FleetMLError, InvalidParameter, Unavailable

FINAL = {"success", "failed"}
_PAUSE = 0.5  # s between looks at a run
_PAGE = 1000  # runs, or task instances, asked for at once
_TIMEOUT = 90.0  # s for one answer: longer than Airflow itself waits for its database
_PATIENCE = 180.0  # s without an answer
_LOCKED = (1.0, 2.0, 4.0, 8.0, 8.0)  # s to wait before asking again what its database was too busy for
_TRIGGERS = 3  # times a run is asked for that nobody said was made


class DatabaseBusy(Unavailable):
    """Airflow rolled a change back because its database was locked or somebody else was first; it can be asked again."""


class NoAnswer(Unavailable):
    """Airflow took a question and did not answer in time; what was asked for may have been done, or may yet be."""


class AlreadyThere(Unavailable):
    """What was to be made is there."""


@dataclass
class AirflowClient:
    """Talks to one Airflow as one user; the token is fetched at the first call."""

    address: str
    user: str
    password: str = field(repr=False)
    _token: str = field(default="", repr=False)

    def wait_for_dag(self, dag_id: str, seconds: float = 60.0) -> None:
        """Return when the DAG is known. Raises FleetMLError with its import error, or Unavailable after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if not self.call("GET", f"dags/{dag_id}")["is_stale"]:  # stale: known, but its file no longer says it
                    return
            except Unavailable:
                pass
            lines = [line for error in self.import_errors() for line in error.splitlines()]
            if errors := [line for line in lines if dag_id in line.replace("-", "_")]:
                raise FleetMLError(f"Airflow cannot load {dag_id}: {errors[-1]}")
            time.sleep(_PAUSE)
        said = "; ".join(["see its log", *self.import_errors()])
        raise Unavailable(f"Airflow at {self.address} does not know the DAG {dag_id} after {seconds:.0f} s; {said}")

    def import_errors(self) -> list[str]:
        """Return the messages of DAG files that cannot be loaded."""
        return [entry["stack_trace"] for entry in self.call("GET", "importErrors")["import_errors"]]

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Unpause the DAG if need be, start a run and return its id, which is that of its records too.

        The id is ours, so a run whose making nobody confirmed can be asked for again, and is made once. Raises
        InvalidParameter for what the form would refuse.
        """
        run_id = f"{dag_id}__{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
        if self.call("GET", f"dags/{dag_id}")["is_paused"]:
            self.call("PATCH", f"dags/{dag_id}", {"is_paused": False})
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
        for attempt in range(1, _TRIGGERS + 1):
            try:
                self.call("POST", f"dags/{dag_id}/dagRuns", body)
                break
            except NoAnswer:
                if attempt == _TRIGGERS:
                    raise
            except AlreadyThere:
                if attempt == 1:  # nobody else has this id but a stranger by chance
                    raise
                break
        return run_id

    def state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: queued, running, success, failed."""
        return str(self.call("GET", f"dags/{dag_id}/dagRuns/{_quoted(run_id)}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run by task id; those of a mapped task by ``id[index]``."""
        place = f"dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances"
        return {_instance(task): task for task in self._all(f"{place}?", "task_instances")}

    def follow(self, dag_id: str, run_id: str, alive: Callable[[], bool] = lambda: True) -> Iterator[tuple[str, str]]:
        """Yield (task id, state) as states change, until the run is over and its record is written.

        Raises Unavailable when Airflow does not answer for three minutes, or one of its processes is no longer `alive`: without
        a scheduler it would answer for ever, and nothing go on.
        """
        known: dict[str, str] = {}
        answered = time.monotonic()
        while True:
            if not alive():
                raise Unavailable(
                    f"Airflow at {self.address} has lost a process, so run {run_id} does not go on; its log tells why, "
                    "`fleetml up` starts it again"
                )
            try:
                over = self.state(dag_id, run_id) in FINAL
                tasks = self.tasks(dag_id, run_id)
                answered = time.monotonic()
            except Unavailable:  # a busy machine, a database that is locked for a moment
                if time.monotonic() - answered > _PATIENCE:
                    raise
                time.sleep(_PAUSE)
                continue
            for task, found in tasks.items():
                state = found["state"] or "pending"
                if known.get(task) != state:
                    known[task] = state
                    yield task, state
            if over and known.get("record") not in (None, "pending", "scheduled", "queued", "running"):
                return
            time.sleep(_PAUSE)

    def log(self, dag_id: str, run_id: str, task: str, attempt: int = 1) -> list[str]:
        """Return the messages in the log of one try of a task, each exception as one line."""
        found = self.call("GET", f"dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task}/logs/{attempt}")
        lines = []
        for entry in found["content"]:
            raised = [f"{error['exc_type']}: {error['exc_value']}" for error in entry.get("error_detail") or []]
            lines += [str(entry["event"]), *raised]
        return lines

    def emit(self, uri: str, payload: Mapping[str, Any]) -> None:
        """Tell Airflow of an event of an asset. Raises Unavailable when no DAG knows the asset."""
        found = self.call("GET", f"assets?uri_pattern={_quoted(uri)}")["assets"]
        assets = [asset["id"] for asset in found if asset["uri"].rstrip("/") == uri]
        if not assets:
            raise Unavailable(f"no pipeline in Airflow at {self.address} knows {uri}; add it to a triggers.yaml")
        self.call("POST", "assets/events", {"asset_id": assets[0], "extra": dict(payload)})

    def fail(self, dag_id: str, run_id: str) -> None:
        """Mark a run failed, which stops its tasks."""
        self.call("PATCH", f"dags/{dag_id}/dagRuns/{_quoted(run_id)}", {"state": "failed"})

    def fail_active(self) -> None:
        """Mark every active run failed."""
        for dag_id, run_id in self.active():
            self.fail(dag_id, run_id)

    def active(self) -> list[tuple[str, str]]:
        """Return DAG id and run id of every run that is not over."""
        runs = self._all("dags/~/dagRuns?state=running&state=queued&order_by=id&", "dag_runs")
        return [(run["dag_id"], run["dag_run_id"]) for run in runs]

    def _all(self, query: str, what: str) -> list[dict[str, Any]]:
        """Return the entries of every page of an answer."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", f"{query}limit={_PAGE}&offset={len(found)}")
            found += page[what]
            if not page[what] or len(found) >= page["total_entries"]:
                return found

    def link(self, dag_id: str, run_id: str) -> str:
        """Return the address of a run in the UI."""
        return f"{self.address}/dags/{dag_id}/runs/{_quoted(run_id)}"

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the answer's JSON. Raises InvalidParameter for a refused body, Unavailable for any other failure."""
        if not self._token:
            self._token = self._send("POST", "/auth/token", {"username": self.user, "password": self.password})[
                "access_token"
            ]
        for pause in _LOCKED:
            try:
                return self._send(method, f"/api/v2/{path}", body)
            except DatabaseBusy:
                time.sleep(pause)
        return self._send(method, f"/api/v2/{path}", body)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        headers = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {self._token}"} if self._token else {}),
        }
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.address + path, data, headers, method=method)  # noqa: S310 - our own stack
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            said = _said(error)
            if error.code in (400, 422):
                raise InvalidParameter(f"Airflow refused {method} {path}: {said}") from None
            busy = DatabaseBusy if error.code == 500 and "Database error" in said else Unavailable
            kind = AlreadyThere if error.code == 409 else busy
            raise kind(f"Airflow at {self.address} answered {error.code} to {method} {path}: {said}") from None
        except OSError as error:
            if isinstance(getattr(error, "reason", error), TimeoutError):
                message = f"Airflow at {self.address} took {method} {path} and did not answer for {_TIMEOUT:.0f} s"
                raise NoAnswer(f"{message}; its log tells why, `fleetml down` and `fleetml up` start it anew") from None
            raise Unavailable(
                f"Airflow at {self.address} does not answer: {error}; start the stack: fleetml up"
            ) from None


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read()).get("detail"))
    except (ValueError, AttributeError):
        return error.reason


def _instance(task: Mapping[str, Any]) -> str:
    return f"{task['task_id']}[{task['map_index']}]" if task["map_index"] >= 0 else str(task["task_id"])


def _quoted(run_id: str) -> str:
    return urllib.parse.quote(run_id, safe="")
