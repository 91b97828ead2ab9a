"""The cache of results: what a step would compute, as a key, and where that was computed before.

An index (`Store`) says which immutable result (``fleetml.artifacts``) a key was computed as; a hit hashes that again,
so a damaged or deleted result is a miss. Any number of engines may use one cache at once.
"""

from fleetml.cache.choice import store_of
from fleetml.cache.key import FORMAT, Key, code_digest, entry, key
from fleetml.cache.result import Result, find, keep, write_result
from fleetml.cache.stores import Disk, Entry, Hybrid, Memory, Nothing, Store

__all__ = [
    "FORMAT",
    "Disk",
    "Entry",
    "Hybrid",
    "Key",
    "Memory",
    "Nothing",
    "Result",
    "Store",
    "code_digest",
    "entry",
    "find",
    "keep",
    "key",
    "store_of",
    "write_result",
]
