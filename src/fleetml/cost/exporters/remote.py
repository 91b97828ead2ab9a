"""Servers elsewhere: Prometheus, which is asked, and those that are pushed to."""

from __future__ import annotations

import urllib.parse

from fleetml import direct
from fleetml.errors import ConfigurationError


def require_url(url: str, place: str) -> str:
    """Return an http(s) URL. Raises ConfigurationError for anything else; never shows what may be a password."""
    try:
        parts = urllib.parse.urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound or "@" in url or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigurationError(
            f"{place} is an http(s) URL without user and password, got {url.rpartition('@')[2]!r}; "
            "mend it; a token stands in the environment"
        )
    return url


def require_token(token: str, place: str, url: str) -> str:
    """Return a token without the spaces and line ends around it; warn where it can be read on its way to `url`.

    Raises ConfigurationError, which never shows it: http.client would refuse it at every request, and quote it.
    """
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(f"{place} wants a token of ASCII letters, digits and signs in one line; mend it")
    if token:
        direct.warn_of_clear(url)
    return token


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token, none for ""."""
    return {"Authorization": f"Bearer {token}"} if token else {}
