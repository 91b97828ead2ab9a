"""Which store an installation uses (FLEETML_CACHE)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from fleetml.cache.stores import Disk, Hybrid, Memory, Nothing, Store
from fleetml.settings import CacheChoice, Settings


def store_of(settings: Settings) -> Store:
    """Return the store of this installation, the same value to all in this process that ask with equal settings."""
    return _made(settings.cache, settings.home / "cache")


@lru_cache(maxsize=16)
def _made(choice: CacheChoice, folder: Path) -> Store:
    match choice.kind:
        case "none":
            return Nothing()
        case "memory":
            return Memory(choice.ttl)
        case "redis":
            return _redis(choice, folder)
        case "hybrid":
            return Hybrid((Disk(folder, choice.ttl), _redis(choice, folder)))
    return Disk(folder, choice.ttl)


def _redis(choice: CacheChoice, folder: Path) -> Store:
    from fleetml.cache.redis import Redis

    return Redis(choice.url, choice.ttl, folder.parent / "metrics" / "cache.prom")
