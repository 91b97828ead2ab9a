"""The secrets of steps in Airflow: its Connections, its Variables, then the environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Connection, Variable
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from fleetml.secrets import from_environment


def from_airflow(secret: str, keys: Sequence[str]) -> dict[str, str]:
    """Return the keys of a secret, each from the first that has it: see `fleetml.secrets.Lookup`.

    A Connection has login (or username), password, host, port, schema and what is in its extra; a Variable is a JSON
    object, or the text that is meant where one key is wanted.
    """
    found = {**from_environment(secret, keys), **_variable(secret, keys), **_connection(secret)}
    wanted = {key: str(found[key]) for key in keys if key in found}
    for value in wanted.values():
        mask_secret(value)
    return wanted


def _connection(secret: str) -> Mapping[str, Any]:
    try:
        connection = Connection.get(secret)
    except AirflowNotFoundException:
        return {}
    fields = {name: getattr(connection, name) for name in ("login", "password", "host", "port", "schema")}
    found = {**connection.extra_dejson, **fields, "username": connection.login}
    return {key: value for key, value in found.items() if value not in (None, "")}


def _variable(secret: str, keys: Sequence[str]) -> Mapping[str, Any]:
    text = Variable.get(secret, default=None)
    if text is None:
        return {}
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    return {keys[0]: text} if len(keys) == 1 else {}
