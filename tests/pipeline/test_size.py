"""How large a pipeline may be: what doubles with every line is refused before it is written out, thousands of steps are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleetml.errors import InvalidPipeline
from fleetml.pipeline import load, plan_of
from fleetml.pipeline.expand import MOST_TASKS


def task(component: str, *after: str) -> dict[str, Any]:
    return {"componentRef": {"name": component}, "dependentTasks": list(after)}


def spec(tasks: dict[str, Any], **dags: dict[str, Any]) -> dict[str, Any]:
    """An IR of these tasks; "leaf" is a component that runs, `dags` are those that hold tasks."""
    inner = {name: {"dag": {"tasks": tasks}} for name, tasks in dags.items()}
    return {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "large"},
        "components": {"leaf": {"executorLabel": "leaf"}, **inner},
        "deploymentSpec": {"executors": {"leaf": {"container": {"image": "fleetml/ml", "command": ["true"]}}}},
        "root": {"dag": {"tasks": tasks}},
    }


def doubling(levels: int) -> dict[str, Any]:
    dags = {f"d{level}": dict.fromkeys("ab", task(f"d{level - 1}" if level else "leaf")) for level in range(levels)}
    return spec({"top": task(f"d{levels - 1}")}, **dags)


def test_sub_dags_that_double_are_refused_by_their_place() -> None:
    assert len(plan_of(doubling(10)).steps) == 1024
    with pytest.raises(
        InvalidPipeline,
        match=rf"components\.d\d+\.dag\.tasks\.[ab]: a pipeline is at most {MOST_TASKS:,} tasks.*; loop",
    ):
        plan_of(doubling(100))


def test_loops_over_loops_are_refused_as_well() -> None:
    looping = doubling(3)
    items = {"items": {"raw": json.dumps([*range(1000)])}, "itemInput": "i"}
    for name in ("d0", "d1"):
        looping["components"][name]["inputDefinitions"] = {"parameters": {"i": {"parameterType": "NUMBER_INTEGER"}}}
    for each in looping["components"]["d1"]["dag"]["tasks"].values():
        each["parameterIterator"] = items
    for each in looping["components"]["d2"]["dag"]["tasks"].values():
        each["parameterIterator"] = items
    with pytest.raises(InvalidPipeline, match="at most"):
        plan_of(looping)


def test_a_graph_of_ten_thousand_steps_loads(tmp_path: Path) -> None:
    tasks = {f"t{number}": task("leaf", *([f"t{number - 1}"] if number else [])) for number in range(10_000)}
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(spec(tasks)))
    plan = load(path)
    assert len(plan.steps) == 10_000
    assert plan.steps["t9999"].upstream == ("t9998",)


def test_sub_dags_one_after_the_other_share_what_they_wait_for() -> None:
    many = {f"t{number}": task("leaf") for number in range(100)}
    chain = {f"g{number}": task("many", *([f"g{number - 1}"] if number else [])) for number in range(20)}
    steps = plan_of(spec(chain, many=many)).steps
    assert steps["g1/t0"].upstream == tuple(f"g0/t{number}" for number in range(100))
    assert steps["g19/t0"].upstream is steps["g19/t99"].upstream
    assert steps["g19/t0"].reads is steps["g19/t99"].reads
    assert len(steps["g19/t0"].reads) == 1900


def test_steps_that_all_wait_for_all_are_refused() -> None:
    many = {f"t{number}": task("leaf") for number in range(2500)}
    with pytest.raises(InvalidPipeline, match=r"at most 5,000,000 times, with step 'g1/t\d+' it is more; put one step"):
        plan_of(spec({"g0": task("many"), "g1": task("many", "g0")}, many=many))


def aliases(pattern: str) -> str:
    """Lines that each name the one before ten times."""
    lines = ["a0: &a0 " + pattern.replace("*", "x").replace("<<", "k")]
    for number in range(1, 30):
        lines.append(f"a{number}: &a{number} " + pattern.replace("*", ",".join([f"*a{number - 1}"] * 10)))
    return "\n".join(lines)


GROWING = {
    "lists": (aliases("[*]"), r"that in line \d+ grows to more than 268,435,456 characters; write it without aliases"),
    "mappings": (aliases("{b: [*]}"), "grows to more than"),
    "merged": (aliases("{<<: [*]}"), "grows to more than"),
    "text": ("a: &a '" + "x" * 100_000 + "'\nb: [" + ",".join(["*a"] * 10_000) + "]", "in line 2 grows to more than"),
    "itself": ("a: &a [*a]", "in line 1 holds itself"),
    "itself in a mapping": ("a: &a\n  b: *a", r"in line \d holds itself"),
    "brackets": ("a: " + "[" * 200_000, "at most 500 deep, line 1 has more; flatten it"),
    "indented": ("".join(" " * depth + "a:\n" for depth in range(1000)), "at most 500 deep, line 501"),
    "dashes": ("a: " + "- " * 100_000, "IR"),
}


@pytest.mark.parametrize("kind", GROWING)
def test_yaml_that_would_grow_without_end_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    written, told = GROWING[kind]
    path = tmp_path / "pipeline.yaml"
    path.write_text(written)
    with pytest.raises(InvalidPipeline, match=told) as refused:
        load(path, tmp_path / "cache")
    assert str(path) in str(refused.value)
    assert not (tmp_path / "cache").exists()


def test_aliases_as_others_write_them_are_read(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    leaf = '"leaf": {"executorLabel": "leaf"}'
    written = json.dumps(spec({"a": task("leaf"), "b": task("other")}))
    path.write_text("# as YAML\n" + written.replace(leaf, f'{leaf.replace(": {", ": &one {", 1)}, "other": *one'))
    assert "*one" in path.read_text()
    assert [*load(path).steps] == ["a", "b"]
