"""What a version was made with: the commit, the environment, the features."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from fleetml.component import Artifact

STAMP = "fleetml-environment.json"  # as fleetml.images calls it, which no step may import


def commit(root: Path) -> str:
    """Return the commit of the code at `root`, with "+changes" where files differ from it; "" where that is no repository."""
    found = _git(root, "rev-parse", "HEAD")
    if found and _git(root, "status", "--porcelain", "--untracked-files=no"):
        found += "+changes"
    return found


def image() -> str:
    """Return what runs this: Python, platform, and the digest of the lock that the environment was built from."""
    import json

    try:
        lock = str(json.loads((Path(sys.prefix) / STAMP).read_text()).get("locks", ""))
    except (OSError, ValueError):
        lock = ""
    return (
        f"python {platform.python_version()} {sys.platform}-{platform.machine()}{f' lock {lock[:12]}' if lock else ''}"
    )


def features(train: Artifact) -> dict[str, Any]:
    """Return the feature service and the covariates (Feast references) of the training windows."""
    import json

    import pyarrow.parquet as pq

    known = pq.read_schema(train.path).metadata or {}
    covariates = json.loads(known.get(b"covariates", b"[]"))
    service = train.metadata.get("feature_service") or known.get(b"feature_service", b"").decode()
    return {"service": str(service), "covariates": covariates}


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, no repository
        return ""
    return done.stdout.strip()
