"""Which process began a trial, and whether it goes on."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from fleetml import process_identity as identity


def this() -> dict[str, Any]:
    """Return what names this process; JSON. `since` [s, Unix] is now."""
    place = {"host": socket.gethostname(), "boot": identity.boot(), "namespace": identity.namespace()}
    return {**place, "pid": os.getpid(), "started": identity.started(), "since": time.time()}


def lives(owner: Mapping[str, Any], patience: float) -> bool:
    """Return whether a process that `this` named goes on; one that cannot be seen from here does for `patience` [s]."""
    here = this()
    if all(owner.get(name) == here[name] for name in ("boot", "namespace")):
        return identity.started(owner["pid"]) == owner["started"] != -1
    if owner["host"] == here["host"] and owner.get("boot") != here["boot"]:  # it was booted since
        return False
    return bool(time.time() - owner["since"] < patience)
