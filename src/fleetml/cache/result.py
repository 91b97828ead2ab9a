"""Results as the cache sees them: what a step made, in an immutable folder, checked again before it is reused."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml import artifacts, atomic
from fleetml.artifact_store import ArtifactStore
from fleetml.cache.key import Key
from fleetml.cache.stores import Entry, Store, Tell, ignore
from fleetml.frozen import asdict, frozen


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
    sha256 = hashlib.sha256((result / "result.json").read_bytes()).hexdigest()
    store.put(key.digest, Entry(result.name, sha256, dict(key.parts), time.time(), step, pipeline, run), tell)


def find(
    store: Store, home: Path, key: Key, tell: Tell = ignore, remote: ArtifactStore | None = None
) -> tuple[str, Result] | None:
    """Return the name of the result and the result; None when there is none, or it is not what was stored (told).

    With `remote` it may have been computed on another machine. Raises what that raises.
    """
    entry = store.get(key.digest, tell)
    if entry is None:
        return None
    try:
        return entry.result, _read(home / "results" / entry.result, entry.sha256, remote)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else error
        tell(f"the cached result {entry.result} cannot be reused ({why}); the step runs, its result replaces it")
        return None


def _read(folder: Path, sha256: str, remote: ArtifactStore | None) -> Result:
    """Raises OSError for what is gone, ValueError, KeyError or TypeError for what is not what it was."""
    content = remote.result(folder.name) if remote else atomic.read_bytes(folder / "result.json")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("its result.json was changed")
    result = Result(**json.loads(content))
    for name, items in result.artifacts.items():
        if not all(remote.holds(item) if remote else artifacts.intact(item) for item in items):
            raise ValueError(f"its artifact '{name}' is gone or was changed")
    return result
