"""The index in a Redis server: one for several machines, which also share their results (FLEETML_STORE)."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.breakers import STATES, Breaker, Open
from fleetml.cache.stores import Entry, Tell, ignore
from fleetml.errors import Unavailable

PREFIX = "fleetml:cache:"
_TIMEOUT = 2.0  # s to connect, and for an answer
_PAUSE = 30.0  # s for which a server that did not answer once is not asked again


@dataclass
class Redis:
    """Keeps each entry as a string ``fleetml:cache:<key>``, which the server drops when it is older than `ttl` seconds.

    A server that does not answer is told once and left alone for half a minute; then only `remove` and
    `entries`, which a person asked for, raise Unavailable. What its breaker last said is in the file `figures`, if one is
    named, for Prometheus: no process of a step lives long enough to be asked.
    """

    url: str = field(repr=False)
    ttl: float = 0.0
    figures: Path | None = None
    _noted: str = ""

    def get(self, key: str, tell: Tell = ignore) -> Entry | None:
        found = self._tried(lambda: self._client.get(PREFIX + key), tell)
        if found is None:
            return None
        try:
            entry = Entry.parse(found)
        except ValueError as error:
            tell(
                f"the cache's entry {PREFIX}{key} in {self.place} cannot be used ({error}); the next result replaces it"
            )
            return None
        return None if entry.expired(self.ttl) else entry

    def put(self, key: str, entry: Entry, tell: Tell = ignore) -> None:
        left = entry.created + self.ttl - time.time() if self.ttl else 0.0
        if left < 0:
            return
        milliseconds = max(1, int(left * 1000)) if self.ttl else None
        self._tried(lambda: self._client.set(PREFIX + key, json.dumps(entry.to_json()), px=milliseconds), tell)

    def remove(self, key: str) -> bool:
        with self._asked():
            return bool(self._client.delete(PREFIX + key))

    def entries(self) -> Iterator[tuple[str, Entry]]:
        with self._asked():
            keys = [name.decode() for name in self._client.scan_iter(match=f"{PREFIX}*", count=1000)]
            found = zip(keys, self._client.mget(keys), strict=True) if keys else ()
        for name, text in found:
            with contextlib.suppress(ValueError):
                if text is not None:
                    yield name.removeprefix(PREFIX), Entry.parse(text)

    @property
    def place(self) -> str:
        """The address without its login."""
        parts = urllib.parse.urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @cached_property
    def _client(self) -> Any:
        import redis

        return redis.Redis.from_url(self.url, socket_connect_timeout=_TIMEOUT, socket_timeout=_TIMEOUT)

    def _tried(self, ask: Any, tell: Tell) -> Any:
        """Return the answer, None where there is none."""
        from redis.exceptions import RedisError

        found = None
        try:
            with self._breaker.calling():
                found = ask()
        except Open:
            return None
        except (RedisError, OSError) as error:
            tell(f"the cache at {self.place} does not answer ({error}); steps go on without it")
        self._note()
        return found

    @cached_property
    def _breaker(self) -> Breaker:
        return Breaker("cache", 1, _PAUSE)

    def _note(self) -> None:
        """Write the breaker's state where it is another than the file says."""
        if self.figures is None or self._noted == self._breaker.state:
            return
        self._noted = self._breaker.state
        line = f'circuit_breaker_state{{service="cache"}} {STATES[self._noted]}\n'
        with contextlib.suppress(OSError, ValueError):
            if not self.figures.exists() or self.figures.read_text(encoding="utf-8") != line:
                atomic.write_text(self.figures, line)

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        from redis.exceptions import RedisError

        try:
            yield
        except (RedisError, OSError) as error:
            raise Unavailable(
                f"the cache at {self.place} must answer, and does not ({error}); start it or correct FLEETML_CACHE"
            ) from None
