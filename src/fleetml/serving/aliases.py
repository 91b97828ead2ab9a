"""The aliases of a model's versions in the registry, without MLflow's client: that takes seconds to import.

``champion`` is served, ``challenger`` on its way, ``previous`` what a rollback goes to. A SQLite registry has no server; there
the client is used after all.
"""

import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from fleetml.errors import ConfigurationError, Unavailable
from fleetml.redaction import without_passwords
from fleetml.serving.deployment import Deployed

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
SECONDS = 3.0
"""A registry that takes longer to answer is down: who rolls back does not wait for it."""
_API = "/api/2.0/mlflow/registered-models"


def of(served: Deployed | None) -> dict[str, str]:
    """Return what the aliases of a model ought to be, by what is served; "": the alias ought not to be."""
    if served is None:
        return dict.fromkeys((CHAMPION, CHALLENGER, PREVIOUS), "")
    challenger = served.rollout.version if served.rollout else ""
    return {CHAMPION: served.version, CHALLENGER: challenger, PREVIOUS: served.previous}


def read(uri: str, name: str) -> dict[str, str]:
    """Return version by alias; {} for a model that the registry does not know. Raises Unavailable."""
    if uri.startswith("sqlite:"):
        from fleetml.serving.registry import Registry

        return Registry(uri).aliases(name)
    try:
        found = _call(uri, "GET", "/get", {"name": name})
    except ConfigurationError:
        return {}
    return {entry["alias"]: str(entry["version"]) for entry in found["registered_model"].get("aliases", [])}


def assign(uri: str, name: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """Make the aliases of `wanted` what it says ("": none); return those that changed.

    Raises Unavailable, and ConfigurationError for a version that the registry does not know.
    """
    now = read(uri, name)
    changed = {alias: version for alias, version in wanted.items() if now.get(alias, "") != version}
    if changed and uri.startswith("sqlite:"):
        from fleetml.serving.registry import Registry

        Registry(uri).assign(name, changed)
        return changed
    for alias, version in changed.items():
        if version:
            _call(uri, "POST", "/alias", {"name": name, "alias": alias, "version": version})
        else:
            _call(uri, "DELETE", "/alias", {"name": name, "alias": alias})
    return changed


def _call(uri: str, method: str, path: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Ask MLflow's REST API. Raises ConfigurationError for what it refuses, Unavailable when it does not answer."""
    shown = without_passwords(uri)
    url = uri.rstrip("/") + _API + path
    body = None if method == "GET" else json.dumps(values).encode()
    request = urllib.request.Request(  # noqa: S310 - http or https, which Registry checks
        f"{url}?{urllib.parse.urlencode(values)}" if body is None else url, body, _headers(), method=method
    )
    try:
        with _opener(uri).open(request, timeout=SECONDS) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        reason = error.read(2000).decode(errors="replace")
        if error.code in (400, 404) and "error_code" in reason:
            raise ConfigurationError(
                f"the registry {shown} must know {' '.join(values.values())}, it says {reason[:300]}; register it"
            ) from error
        raise Unavailable(
            f"the registry {shown} must take {method} {path}, it answers {error}: {reason[:200]}"
        ) from error
    except (OSError, ValueError) as error:
        raise Unavailable(f"the registry must answer at {shown}, and does not ({error}); start it") from error
    return dict(found)


def _headers() -> dict[str, str]:
    """The credentials that MLflow's own client reads."""
    headers = {"Content-Type": "application/json"}
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    if user and password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN", ""):
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _opener(uri: str) -> urllib.request.OpenerDirector:
    loopback = urllib.parse.urlsplit(uri).hostname in ("127.0.0.1", "localhost", "::1")
    return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if loopback else []))
