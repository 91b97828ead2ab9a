"""The choices of a run, and what excludes each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from components.federated.configuration import EXCLUSIONS, Federation
from fleetml.errors import InvalidParameter

DOCS = Path(__file__).parents[3] / "docs/federated.md"
PRIVATE: dict[str, Any] = {"privacy": "central", "epsilon": 8.0, "weights": "equal"}
BROKEN: list[dict[str, Any]] = [
    {"strategy": "krum", "secure": True, "min_clients": 3},
    {**PRIVATE, "strategy": "trimmed_mean", "min_clients": 5},
    {**PRIVATE, "weights": "examples"},
    {**PRIVATE, "fraction": 0.5},
    {**PRIVATE, "patience": 3},
    {**PRIVATE, "privacy": "local", "update_share": 0.1},
    {**PRIVATE, "privacy": "local", "secure": True, "min_clients": 3},
    {"secure": True},
    {"secure": True, "min_clients": 3, "update_bits": 8},
    {"strategy": "krum", "malicious": 1, "min_clients": 4},
    {"strategy": "trimmed_mean", "min_clients": 4},
    {"strategy": "fedprox"},
    {**PRIVATE, "epsilon": 0.0},
    {"epsilon": 8.0},
    {"secure": True, "min_clients": 3, "selection": "speed", "fraction": 0.5},
]


@pytest.mark.parametrize(("exclusion", "given"), zip(EXCLUSIONS, BROKEN, strict=True))
def test_each_exclusion_is_refused_with_why_and_remedy(exclusion: Any, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter) as refused:
        Federation(**given)
    for said in (exclusion.one, exclusion.other, exclusion.why, exclusion.remedy):
        assert said in str(refused.value)


def test_the_table_in_the_docs_is_that_of_the_code() -> None:
    rows = [f"| {it.one} | {it.other} | {it.why} | {it.remedy} |" for it in EXCLUSIONS]
    documented = re.findall(
        r"^\| .* \|$", DOCS.read_text().split("## What excludes each other")[1].split("\n## ")[0], re.M
    )
    assert documented[1:] == rows


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"strategy": "krum", "malicious": 1, "min_clients": 5},
        {"strategy": "trimmed_mean", "min_clients": 5},
        {"strategy": "trimmed_mean", "trim": 0.34, "min_clients": 3},
        {**PRIVATE, "secure": True, "min_clients": 3},
        {**PRIVATE, "fraction": 0.5, "selection": "staleness"},
        {"update_bits": 8, "update_share": 0.1},
    ],
)
def test_what_goes_together_is_taken(given: dict[str, Any]) -> None:
    Federation(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strategy": "fedavgg"}, "did you mean 'fedavg'"),
        ({"selection": "all"}, "selection must be random, size, speed, staleness, got 'all'"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"fraction": 0.0}, "fraction must be positive"),
        ({"fraction": 1.5}, "fraction must be at most 1"),
        ({"trim": 0.5}, "trim must be below 0.5"),
        ({"update_bits": 4}, "update_bits must be 32, 16 or 8, got 4"),
        ({"proximal_mu": -1.0}, "proximal_mu must be positive"),
        ({"clip": float("nan")}, "clip must be"),
        ({"min_improvement": float("nan")}, "min_improvement must be"),
    ],
)
def test_a_value_out_of_range_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        Federation(**given)
