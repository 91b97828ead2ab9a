"""HTTP to the one server that an address names: no redirect is followed, and no proxy stands before this machine."""

from __future__ import annotations

import functools
import ipaddress
import logging
import urllib.parse
import urllib.request
from typing import Any

log = logging.getLogger(__name__)


class _Straight(urllib.request.HTTPRedirectHandler):
    """A redirect would make a question of what is sent, and take a token or secret elsewhere: it is told as an answer (HTTPError) instead."""

    def redirect_request(self, *_: Any) -> None:
        return None


def opener(url: str) -> urllib.request.OpenerDirector:
    """Return what opens a URL. Raises ValueError for what is none."""
    here = is_loopback(urllib.parse.urlsplit(url).hostname or "")
    return urllib.request.build_opener(_Straight, *([urllib.request.ProxyHandler({})] if here else []))


@functools.cache
def warn_of_clear(url: str) -> None:
    """Warn, once for each URL, where a token that is sent to it can be read on the way."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        log.warning(
            "a token travels in the clear to %s, which is beyond loopback; give https://…, or leave encryption to a mesh",
            parts.netloc.rpartition("@")[2],
        )


def is_loopback(host: str) -> bool:
    """Say whether a host's name or address, IPv6 with or without its brackets, is this machine's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
