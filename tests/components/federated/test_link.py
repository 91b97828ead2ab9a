"""The link's look for regions, without a link; with one: test_superlink."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.federated import keys, link


def test_a_key_that_came_while_the_link_began_is_admitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.make_region(tmp_path / keys.REGIONS, "east")
    admitted: list[list[str]] = []
    monkeypatch.setattr(link, "admit", lambda state, regions: admitted.append(list(regions)))
    looks = iter([False, False, True])
    ended: Any = SimpleNamespace(wait=lambda seconds: next(looks))
    link._watch(tmp_path, None, ended)  # type: ignore[arg-type]
    assert admitted == [["east"]]
