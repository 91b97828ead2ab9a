"""A message to a webhook whose address is a secret: it is in no log and no error."""

import json
import logging
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from fleetml import direct
from fleetml.errors import ConfigurationError

TRIES, SECONDS = 4, 10.0
"""How often it is tried, and how long for an answer each time."""

log = logging.getLogger(__name__)


class _NotTaken(Exception):
    """It may be taken when it is sent again; says why without the address."""


def require(url: str) -> None:
    """Raises ConfigurationError for what is no webhook's URL."""
    try:
        parts = urllib.parse.urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigurationError(
            "FLEETML_ALERT_WEBHOOK is the URL of a webhook, http://host/path or https://host/path, what it holds is none; "
            "mend or unset it"
        )


def post(url: str, message: Mapping[str, Any], pause: Callable[[float], Any]) -> bool:
    """Post a JSON document, a few times if need be; say whether it was taken. Of why not only the log tells.

    `pause` waits some seconds between tries: 1, 2, 4.
    """
    from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

    trying = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(multiplier=1, max=SECONDS),
        retry=retry_if_exception_type(_NotTaken),
        sleep=pause,
    )
    try:
        trying(_post, url, json.dumps(message).encode())
    except RetryError as error:
        log.error("alerts could not be told, %d times: %s; tried again later", TRIES, error.last_attempt.exception())
    except urllib.error.HTTPError as error:
        log.error("the webhook refuses the alerts with HTTP %d; mend FLEETML_ALERT_WEBHOOK", error.code)
    else:
        return True
    return False


def _post(url: str, body: bytes) -> None:
    """Raises _NotTaken, and HTTPError for what is refused for good."""
    headers = {"Content-Type": "application/json", "User-Agent": "fleetml"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - http or https, which `require` checks
    try:
        direct.opener(url).open(request, timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (408, 429) or error.code >= 500:
            raise _NotTaken(f"HTTP {error.code}") from None
        raise
    except urllib.error.URLError as error:
        raise _NotTaken(f"no connection ({type(error.reason).__name__})") from None
    except OSError as error:
        raise _NotTaken(type(error).__name__) from None
    except Exception as error:  # http.client's own, which may hold the path
        raise _NotTaken(type(error).__name__) from None
