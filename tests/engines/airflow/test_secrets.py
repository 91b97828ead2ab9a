"""Where a step's secret comes from in Airflow: Connection, Variable, environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("airflow", reason="Airflow lives in the orchestrator environment")

from fleetml.engines.airflow.secrets import from_airflow

CONNECTION = {
    "conn_type": "generic",
    "login": "jo",
    "password": "of-connection",
    "host": "h",
    "port": 5432,
    "extra": {"token": "t0ken"},
}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch, airflow_home: Path) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MY_DB", json.dumps(CONNECTION))
    monkeypatch.setenv("AIRFLOW_VAR_MY_DB", json.dumps({"password": "of-variable", "schema": "of-variable"}))
    monkeypatch.setenv("AIRFLOW_VAR_PLAIN", "of-variable")
    for key in ("PASSWORD", "SCHEMA", "OTHER"):
        monkeypatch.setenv(f"FLEETML_SECRET_MY_DB_{key}", "of-environment")


def test_the_connection_comes_before_the_variable_and_that_before_the_environment() -> None:
    assert from_airflow("my_db", ["password", "schema", "other", "missing"]) == {
        "password": "of-connection",
        "schema": "of-variable",
        "other": "of-environment",
    }


def test_fields_of_a_connection() -> None:
    found = {"login": "jo", "username": "jo", "host": "h", "port": "5432", "token": "t0ken"}
    assert from_airflow("my_db", list(found)) == found


def test_a_text_is_the_one_key_that_is_asked_for() -> None:
    assert from_airflow("plain", ["token"]) == {"token": "of-variable"}
    assert from_airflow("plain", ["token", "user"]) == {}


def test_what_is_nowhere_is_missing() -> None:
    assert from_airflow("nothing", ["token"]) == {}
