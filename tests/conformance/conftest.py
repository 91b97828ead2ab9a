"""The command line of a project in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleetml.cli import main
from fleetml.settings import Settings


@pytest.fixture
def fleetml(project: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("FLEETML_PROJECT", str(project.project))
    return lambda *words: main([str(word) for word in words])
