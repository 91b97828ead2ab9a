"""SHA-256 without OpenSSL: to load that takes longer than to hash all that a run of cache hits looks at (docs/adr/0007).

The interpreter has its own, which `random` and, where there is no OpenSSL, `hashlib` take. Large files are hashed by
OpenSSL, which is twice as fast or, with the instructions of newer processors, ten times.
"""

from __future__ import annotations

import os
from pathlib import Path

try:
    from _sha256 import sha256  # Python 3.11
except ImportError:
    try:
        from _sha2 import sha256  # Python 3.12
    except ImportError:  # a Python built without
        from hashlib import sha256

__all__ = ["hexdigest", "of_file", "sha256"]

_LARGE = 1 << 20  # bytes that take OpenSSL as long as it takes to be loaded


def hexdigest(content: bytes) -> str:
    """Return the SHA-256 (hex) of a few bytes."""
    return str(sha256(content).hexdigest())


def of_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes. Raises OSError."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < _LARGE:
            return hexdigest(file.read())
        import hashlib

        return hashlib.file_digest(file, "sha256").hexdigest()
