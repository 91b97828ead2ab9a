"""Answers that are given again for a while: the same arrays to the same version."""

from cachetools import TTLCache

from fleetml.serving import metrics
from fleetml.serving.backends import Arrays
from fleetml.serving.model import Model

ROWS = 64
"""Larger batches are not remembered: they hardly come again, and would fill the memory."""

Key = tuple[object, ...]


class Cache:
    """At most `entries` outputs, each for `seconds`; 0 entries: none."""

    def __init__(self, entries: int, seconds: float) -> None:
        self._known: TTLCache[Key, Arrays] | None = TTLCache(entries, seconds) if entries else None

    def key(self, model: Model, inputs: Arrays) -> Key | None:
        """Return what this answer is remembered by; None where it is not to be."""
        if self._known is None or any(len(array) > ROWS for array in inputs.values() if array.ndim):
            return None
        return (model.sha256, *((name, array.shape, array.tobytes()) for name, array in inputs.items()))

    def get(self, model: Model, key: Key | None) -> Arrays | None:
        if self._known is None or key is None:
            return None
        found = self._known.get(key)
        metrics.cached(model.name, "hit" if found is not None else "miss").inc()
        return found

    def put(self, key: Key | None, outputs: Arrays) -> None:
        if self._known is not None and key is not None:
            self._known[key] = outputs
