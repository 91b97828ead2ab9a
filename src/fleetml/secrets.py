"""The secrets of a step: what it asks for (``kubernetes.use_secret_as_env``), and where each engine finds that.

Their values are in a step's environment and nowhere else; `fleetml.redaction` keeps them out of all that is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fleetml.errors import ConfigurationError
from fleetml.redaction import SHORTEST

_CREDENTIAL = "(?i)SECRET|PASSW|TOKEN|KEY|CREDENTIAL"

_NAMES = {"login", "username", "user", "host", "hostname", "port", "schema", "database", "dbname"}

Lookup = Callable[[str, Sequence[str]], Mapping[str, str]]
"""Takes a secret's name and the keys wanted; returns the values of those it has."""


def variable(secret: str, key: str) -> str:
    """Return the environment variable that holds a key of a secret: ``FLEETML_SECRET_<SECRET_NAME>_<KEY>``."""
    return "FLEETML_SECRET_" + re.sub(r"[^A-Z0-9]", "_", f"{secret}_{key}".upper())


def from_environment(secret: str, keys: Sequence[str]) -> dict[str, str]:
    """Return the keys of a secret that this process's environment holds: the `Lookup` where there is no other."""
    return {key: os.environ[name] for key in keys if (name := variable(secret, key)) in os.environ}


def names(asked: Iterable[Mapping[str, Any]], found: Mapping[str, str]) -> list[str]:
    """Return those of the values that are hidden in logs, but may stand in outputs: their keys tell that they are names."""
    pairs = [pair for entry in asked for pair in entry.get("keyToEnv", ())]
    return [found[p["envVar"]] for p in pairs if p["secretKey"].lower() in _NAMES and p["envVar"] in found]


def too_short(asked: Iterable[Mapping[str, Any]], found: Mapping[str, str]) -> list[str]:
    """Return which of the values cannot be hidden, by the variables that hold them: half of every log would be hidden too."""
    named = names(asked, found)
    short = [place for place, value in found.items() if 0 < len(value.strip()) < SHORTEST and value not in named]
    return sorted(short)


def require_distinct(asked: Iterable[Mapping[str, Any]]) -> None:
    """Raise ConfigurationError where one variable of our environment is meant by two keys: it can hold one of them only."""
    meant: dict[str, tuple[str, str]] = {}
    for entry in asked:
        for pair in entry.get("keyToEnv", ()):
            wanted = (str(entry["secretName"]), pair["secretKey"])
            name = variable(*wanted)
            if meant.setdefault(name, wanted) != wanted and name in os.environ:
                both = " and ".join(f"key '{key}' of '{secret}'" for secret, key in (meant[name], wanted))
                raise ConfigurationError(
                    f"a variable holds one key of one secret, {name} would be {both}; rename one of them in the pipeline, "
                    "or unset it and keep both where they have their own names (Airflow's Connections)"
                )


def tells_secret(name: str) -> bool:
    """Say whether a variable's name tells that its value is secret."""
    return bool(re.search(_CREDENTIAL, name))


def credentials(names: Iterable[str]) -> list[str]:
    """Return the values of those variables of our environment whose names tell that they are secret."""
    return [os.environ[name] for name in names if tells_secret(name) and name in os.environ]


def delivered(asked: Iterable[Mapping[str, Any]], lookup: Lookup, step: str) -> dict[str, str]:
    """Return the values of a step's environment variables, looked up for the entries of "secretAsEnv".

    An entry has secretName, keyToEnv (a list of secretKey and envVar) and optional. Raises ConfigurationError for a
    secret that is not there and not optional, or that shares its variable with another one.
    """
    found: dict[str, str] = {}
    asked = list(asked)
    require_distinct(asked)
    for entry in asked:
        secret, pairs = str(entry["secretName"]), list(entry.get("keyToEnv", ()))
        values = lookup(secret, [pair["secretKey"] for pair in pairs])
        for pair in pairs:
            key, place = pair["secretKey"], pair["envVar"]
            if key in values:
                found[place] = _sound(values[key], secret, key)
            elif not entry.get("optional"):
                raise ConfigurationError(
                    f"step '{step}' needs key '{key}' of the secret '{secret}' (as {place}), which is not there; set the "
                    f"environment variable {variable(secret, key)}, on Airflow the Connection '{secret}' or a Variable "
                    f'\'{secret}\' with JSON such as {{"{key}": "…"}}'
                )
    return found


def _sound(value: str, secret: str, key: str) -> str:
    if "\0" in value:
        raise ConfigurationError(
            f"a secret travels as an environment variable, which holds no NUL; key '{key}' of '{secret}' does: mend it"
        )
    return value
