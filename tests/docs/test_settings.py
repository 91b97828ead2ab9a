"""docs/settings.md names every variable that is read."""

import re
from pathlib import Path

from fleetml.runners.choice import RUNNERS

ROOT = Path(__file__).parents[2]
OURS = {"FLEETML_STACK", "FLEETML_STEP", "FLEETML_CODE_DIGEST"}  # set by us for our own processes


def test_every_variable_is_told() -> None:
    told = (ROOT / "docs/settings.md").read_text()
    read = {
        name
        for file in (ROOT / "src/fleetml").rglob("*.py")
        for name in re.findall(r"[\"'](FLEETML_[A-Z_]+|KF_[A-Z_]+)", file.read_text())
    }
    assert {name for name in read - OURS if name not in told} == set()


def test_nothing_is_told_that_is_not_read() -> None:
    source = "".join(file.read_text() for file in (ROOT / "src/fleetml").rglob("*.py"))
    for name in re.findall(r"`(FLEETML_[A-Z_]+|KF_[A-Z_]+)", (ROOT / "docs/settings.md").read_text()):
        made = name.startswith("FLEETML_SECRET_")  # those are named by pipelines
        assert made or name in source or f'"{name.removeprefix("FLEETML_COST_")}"' in source, name


def test_every_runner_is_told() -> None:
    (row,) = (line for line in (ROOT / "docs/settings.md").read_text().splitlines() if "`FLEETML_RUNNER`" in line)
    assert [name for name in RUNNERS if f"`{name}`" not in row] == []
