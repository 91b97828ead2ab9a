"""HTTP to the one server that an address names: no redirect is followed, and no proxy stands before this machine."""

from __future__ import annotations

import ipaddress
import urllib.parse
import urllib.request
from typing import Any


class _Straight(urllib.request.HTTPRedirectHandler):
    """A redirect would make a question of what is sent, and take a token or secret elsewhere: it is told as an answer (HTTPError) instead."""

    def redirect_request(self, *_: Any) -> None:
        return None


def opener(url: str) -> urllib.request.OpenerDirector:
    """Return what opens a URL. Raises ValueError for what is none."""
    here = is_loopback(urllib.parse.urlsplit(url).hostname or "")
    return urllib.request.build_opener(_Straight, *([urllib.request.ProxyHandler({})] if here else []))


def is_loopback(host: str) -> bool:
    """Say whether a host's name or address, IPv6 with or without its brackets, is this machine's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
