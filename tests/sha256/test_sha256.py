"""Small and large files have the digest that everybody else finds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fleetml import sha256


@pytest.mark.parametrize("size", [0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_a_file_has_its_sha256(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    file = tmp_path / "file"
    file.write_bytes(content[:size])
    assert sha256.of_file(file) == sha256.hexdigest(content[:size]) == hashlib.sha256(content[:size]).hexdigest()
