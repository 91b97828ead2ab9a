"""Does the running server serve what ``deployment.json`` says by now?"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetml.serving import deployment

SECONDS = 10.0


@dataclass(frozen=True)
class Served:
    """`state` is serving (after `seconds`), refused (and why), silent (a server that did not look) or alone (none runs)."""

    state: str
    seconds: float = 0.0
    why: str = ""


def wait(root: Path, name: str, version: str, limit: float = SECONDS) -> Served:
    """Wait, `limit` seconds at most, until the server of this folder serves `version`, or refuses it."""
    began = time.monotonic()
    while True:
        said = deployment.status(root)
        if not _alive(said):
            return Served("alone")
        if said.get("models", {}).get(name, {}).get("version") == version:
            return Served("serving", time.monotonic() - began)
        refused = said.get("refused", {}).get(name, {})
        if refused.get("version") == version:
            return Served("refused", why=str(refused.get("error", "")))
        if time.monotonic() - began > limit:
            return Served("silent")
        time.sleep(0.05)


def _alive(said: dict[str, Any]) -> bool:
    try:
        os.kill(int(said["pid"]), 0)
    except PermissionError:
        return True
    except (LookupError, ValueError, TypeError, OSError):
        return False
    return True
