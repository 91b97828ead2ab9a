"""What was served before a version that is served while it is tested: ``rollouts/untested/<model>.json``.

Written before the version is pointed at and removed once it passed, so that who was killed in between, and begins
again, goes back to what was served and tested before, not to the untested version.
"""

import json
from dataclasses import asdict
from pathlib import Path

from fleetml import atomic
from fleetml.serving import deployment
from fleetml.serving.deployment import Deployed


def begin(root: Path, name: str, version: str) -> Deployed | None:
    """Note that `version` is about to be tested; return what to go back to. Raises OSError."""
    before = deployment.read(root).get(name)
    known, earlier = _read(root, name)
    if before and before.version == known:
        before = earlier
    path = _path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, {"version": version, "before": asdict(before) if before else None})
    return before


def stands(root: Path, name: str, version: str) -> bool:
    """Say whether `version` is noted as one under test."""
    return _read(root, name)[0] == version


def passed(root: Path, name: str, version: str) -> None:
    """Forget the note of `version`; that of another, which was deployed meanwhile, stays."""
    if stands(root, name, version):
        _path(root, name).unlink(missing_ok=True)


def tidy(root: Path, name: str) -> None:
    """Forget the note of a version that is not served (any more)."""
    served = deployment.read(root).get(name)
    if served is None or served.version != _read(root, name)[0]:
        _path(root, name).unlink(missing_ok=True)


def _path(root: Path, name: str) -> Path:
    return root / "rollouts" / "untested" / f"{name}.json"


def _read(root: Path, name: str) -> tuple[str, Deployed | None]:
    """Return the version under test and what was served before it; "" where none is."""
    try:
        note = json.loads(_path(root, name).read_text(encoding="utf-8"))
        return str(note["version"]), deployment.deployed(note["before"]) if note["before"] else None
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return "", None
