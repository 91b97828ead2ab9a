"""Who gets in: the token, then the client's share of the server."""

import hmac
import time
from dataclasses import dataclass

from cachetools import LRUCache

from fleetml.access import Tokens
from fleetml.serving.errors import TooManyRequests

CLIENTS = 10_000
"""Clients whose rate is remembered; of more, those not seen for longest begin anew."""


@dataclass(slots=True)
class _Bucket:
    """Requests a client may still make, as of `at` by the monotonic clock."""

    left: float
    at: float


class Admission:
    """`rate` requests a second and client, and as many at once after a pause; 0: any number. No `tokens`: anybody.

    Who sends the token `deploy` always gets in.
    """

    def __init__(self, tokens: Tokens | None, rate: float, deploy: str = "") -> None:
        self.tokens = tokens
        self._deploy = f"Bearer {deploy}".encode() if deploy else b""
        self._rate = rate
        self._buckets: LRUCache[str, _Bucket] = LRUCache(CLIENTS)

    @property
    def open(self) -> bool:
        """Say that everybody gets in, always."""
        return self.tokens is None and not self._rate

    def admit(self, authorization: str, address: str) -> None:
        """Let a request in, or raise Unauthenticated or TooManyRequests. `address` is the client's where it has no token."""
        if self._deploy and hmac.compare_digest(authorization.encode(), self._deploy):
            return
        client = self.tokens.client(authorization) if self.tokens else address
        if self._rate:
            self._spend(client)

    def _spend(self, client: str) -> None:
        now, most = time.monotonic(), max(1.0, self._rate)
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(most, now)
        bucket.left = min(most, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.left < 1:
            raise TooManyRequests(
                f"a client may ask {self._rate:g} times a second, {client} asks more often; ask more slowly"
            )
        bucket.left -= 1
