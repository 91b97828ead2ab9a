"""Results as the cache sees them: what a step made, in an immutable folder, checked again before it is reused."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml import artifacts, atomic, sha256
from fleetml.artifact_store import ArtifactStore
from fleetml.cache.key import Key
from fleetml.cache.stores import Entry, Store, Tell, ignore
from fleetml.frozen import asdict, frozen
from fleetml.pauses import Pausing

_LITTLE = 1 << 18  # bytes that are hashed in a millisecond


@frozen
class Result:
    """What a step made, as it stands in its immutable folder; `usage` is what making it took."""

    parameters: Mapping[str, Any]
    artifacts: Mapping[str, list[dict[str, Any]]]
    usage: Mapping[str, float]

    @property
    def storable(self) -> bool:
        """Only artifacts whose bytes can be hashed again may serve another run."""
        return all(item["digest"] for items in self.artifacts.values() for item in items)


def write_result(folder: Path, result: Result) -> None:
    """Put ``result.json`` into a folder that is about to be published. Raises OSError."""
    atomic.write_json(folder / "result.json", asdict(result))


def keep(store: Store, key: Key, result: Path, step: str, pipeline: str, run: str, tell: Tell = ignore) -> None:
    """Let `key` lead to a published result. The last of several writers wins; all are right. Raises OSError."""
    content = sha256.of_file(result / "result.json")
    store.put(key.digest, Entry(result.name, content, dict(key.parts), time.time(), step, pipeline, run), tell)


def find(
    store: Store, home: Path, key: Key, tell: Tell = ignore, remote: ArtifactStore | None = None
) -> Pausing[tuple[str, Result] | None]:
    """Return the name of the result and the result; None when there is none, or it is not what was stored (told).

    With `remote` it may have been computed on another machine. Pauses before more than a little is hashed. Raises what
    `remote` raises.
    """
    entry = store.get(key.digest, tell)
    if entry is None:
        return None
    try:
        result = _read(home / "results" / entry.result, entry.sha256, remote)
        if not remote and _is_large(result):
            yield
        _check(result, remote)
        return entry.result, result
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else error
        tell(f"the cached result {entry.result} cannot be reused ({why}); the step runs, its result replaces it")
        return None


def _read(folder: Path, digest: str, remote: ArtifactStore | None) -> Result:
    """Raises OSError for what is gone, ValueError, KeyError or TypeError for what is not what it was."""
    content = remote.result(folder.name) if remote else atomic.read_bytes(folder / "result.json")
    if sha256.hexdigest(content) != digest:
        raise ValueError("its result.json was changed")
    return Result(**json.loads(content))


def _is_large(result: Result) -> bool:
    places = (artifacts.local_path(item["uri"]) for items in result.artifacts.values() for item in items)
    sizes = [_LITTLE if path.is_dir() else path.stat().st_size for path in places if path and path.exists()]
    return sum(sizes) >= _LITTLE


def _check(result: Result, remote: ArtifactStore | None) -> None:
    """Raises ValueError where an artifact is not what it was."""
    for name, items in result.artifacts.items():
        if not all(remote.holds(item) if remote else artifacts.intact(item) for item in items):
            raise ValueError(f"its artifact '{name}' is gone or was changed")
