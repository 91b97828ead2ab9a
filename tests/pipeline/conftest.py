import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetml.pipeline import Plan, load

PIPELINES = Path(__file__).parents[1] / "pipelines"


@pytest.fixture(scope="session")
def plan_of_file() -> Callable[[str], Plan]:
    """The plan of a committed test pipeline by its name."""
    return lambda name: load(PIPELINES / f"{name}.yaml")


@pytest.fixture
def ir() -> Callable[[str], dict[str, Any]]:
    """The document of a committed test pipeline, free to be broken."""
    return lambda name: copy.deepcopy(yaml.safe_load((PIPELINES / f"{name}.yaml").read_text()))


@pytest.fixture
def outcome() -> Callable[..., dict[str, Any]]:
    """An outcome as a step leaves it; positional: its state."""

    def make(state: str = "succeeded", artifacts: dict[str, Any] | None = None, **parameters: Any) -> dict[str, Any]:
        return {"state": state, "cached": False, "parameters": parameters, "artifacts": artifacts or {}}

    return make
