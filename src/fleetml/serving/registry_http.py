"""MLflow's REST API, for what must take no seconds: its own client is slow to import, and patient with a dead server."""

import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from fleetml import breakers, direct
from fleetml.breakers import Breaker
from fleetml.errors import ConfigurationError, Unavailable
from fleetml.redaction import without_passwords

SECONDS = 3.0
"""A registry that takes longer to answer is down: who rolls back does not wait for it."""


FAILURES, PAUSE_SECONDS = 3, 30.0
"""So many questions in a row that it did not answer, and it is asked nothing for so long."""


def breaker(uri: str) -> Breaker:
    """Return this process' breaker before the registry at a URI; what it refuses is an answer."""
    return breakers.of(
        "mlflow", uri, FAILURES, PAUSE_SECONDS, failed=lambda error: isinstance(error, Unavailable | OSError)
    )


def call(uri: str, method: str, path: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Ask MLflow's REST API. Raises ConfigurationError for what it refuses, Unavailable when it does not answer, or did not lately."""
    with breaker(uri).calling():
        return _call(uri, method, path, values)


def _call(uri: str, method: str, path: str, values: Mapping[str, str]) -> dict[str, Any]:
    shown = without_passwords(uri)
    url = uri.rstrip("/") + "/api/2.0/mlflow" + path
    body = None if method == "GET" else json.dumps(values).encode()
    request = urllib.request.Request(  # noqa: S310 - http or https, which Registry checks
        f"{url}?{urllib.parse.urlencode(values)}" if body is None else url, body, _headers(), method=method
    )
    try:
        with direct.opener(uri).open(request, timeout=SECONDS) as answer:
            found = json.load(answer)
            if not isinstance(found, dict):
                raise ValueError(f"it answers {str(found)[:100]}")
    except urllib.error.HTTPError as error:
        reason = error.read(2000).decode(errors="replace")
        if error.code in (400, 404) and "error_code" in reason:
            raise ConfigurationError(
                f"the registry {shown} must know {' '.join(values.values())}, it says {_message(reason)}; register it"
            ) from error
        raise Unavailable(
            f"the registry {shown} must take {method} {path}, it answers {error}: {reason[:200]}"
        ) from error
    except (OSError, ValueError) as error:
        raise Unavailable(f"the registry must answer at {shown}, and does not ({error}); start it") from error
    return found


def _message(reason: str) -> str:
    """Return what the registry says, without the JSON around it."""
    try:
        return str(json.loads(reason)["message"])[:300]
    except (ValueError, LookupError, TypeError):
        return reason[:300]


def _headers() -> dict[str, str]:
    """The credentials that MLflow's own client reads."""
    headers = {"Content-Type": "application/json"}
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    if user and password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN", ""):
        headers["Authorization"] = f"Bearer {token}"
    return headers
