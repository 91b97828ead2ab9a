"""What a step's code imports is part of its cache key: in its stage's folder, or listed in images/images.toml."""

import ast
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = tomllib.loads((ROOT / "images/images.toml").read_text())["images"]["fleetml/ml"]["code"]
# Registry, server and their processes, with what these import, are for stages whose results are never reused, as they read
# or change the world.
OUTSIDE = tuple(ROOT / "src/fleetml" / name for name in ("serving", "stack"))


@pytest.mark.parametrize("stage", sorted(place.parent.name for place in ROOT.glob("components/*/component.py")))
def test_a_stage_imports_only_what_its_key_knows(stage: str) -> None:
    work = [
        place for place in (ROOT / "components" / stage).glob("*.py") if place.name not in ("component.py", "tasks.py")
    ]
    seen: set[Path] = set()
    while work:
        file = work.pop()
        if file not in seen:
            seen.add(file)
            work += [] if _within(file, OUTSIDE) else _imported(file)
    roots = [*OUTSIDE, *(ROOT / root for root in (*CODE, f"components/{stage}"))]
    unknown = [file for file in seen if not _within(file, roots)]
    assert unknown == []


def _within(file: Path, roots: Iterable[Path]) -> bool:
    return any(file.is_relative_to(root) for root in roots)


def _imported(file: Path) -> Iterator[Path]:
    """Yield the files of this project that a file imports, packages (whose __init__ is a docstring) left out."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            for base in (ROOT / "src", ROOT):
                if (place := base.joinpath(*name.split(".")).with_suffix(".py")).is_file():
                    yield place
