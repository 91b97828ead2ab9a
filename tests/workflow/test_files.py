"""Workflow files: `fleetml run` and `fleetml compile` take them as they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetml.cli import main
from fleetml.pipeline import load
from fleetml.records import Run, runs
from fleetml.workflow import source
from fleetml.workflow.grammar import InvalidWorkflow
from tests.contracts import rows, training

ROOT = Path(__file__).parents[2]
EXAMPLE = training()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own in this project, with which commands run."""
    monkeypatch.setenv("FLEETML_PROJECT", str(ROOT))
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_the_example_runs_to_its_end(home: Path, tmp_path: Path, capsys: Any, suffix: str) -> None:
    rows(tmp_path)
    place = tmp_path / f"example.{suffix}"
    place.write_text(json.dumps(EXAMPLE) if suffix == "json" else yaml.safe_dump(EXAMPLE, sort_keys=False))
    assert main(["run", str(place)]) == 0
    said = capsys.readouterr().out
    assert "preprocess-data" in said
    assert "accuracy" in said
    (found,) = runs(home)
    assert (found["state"], found["pipeline"]) == ("succeeded", "training-pipeline-v1")
    model = Run(home, found["run_id"]).latest()["train-model"].outcome["artifacts"]["model"][0]  # type: ignore[index]
    assert model["metadata"]["algorithm"] == "random_forest"
    assert main(["run", str(place)]) == 0
    assert "train-model      cached" in capsys.readouterr().out


def test_a_wrong_workflow_is_refused_before_anything_runs(home: Path, tmp_path: Path, capsys: Any) -> None:
    place = tmp_path / "example.json"
    place.write_text(json.dumps({**EXAMPLE, "tasks": [EXAMPLE["tasks"][1]]}))
    assert main(["run", str(place)]) == 1
    said = capsys.readouterr().err
    assert f"error: {place}: tasks[0].dependencies[0]: 'preprocess_data' is no task of this workflow" in said
    assert not list(runs(home))


def test_an_unchanged_workflow_is_compiled_once_and_a_changed_one_again(tmp_path: Path) -> None:
    place, home = tmp_path / "w.json", tmp_path / "home"
    place.write_text(json.dumps(EXAMPLE))
    first = source.ir_file(place, home)
    assert source.ir_file(place, home) == first
    place.write_text(json.dumps({**EXAMPLE, "name": "Other"}))
    assert source.ir_file(place, home) != first
    assert load(source.ir_file(place, home)).label == "Other"


def test_a_relative_path_is_relative_to_the_workflow(tmp_path: Path) -> None:
    place = tmp_path / "w.json"
    document = {**training(), "global_parameters": {"dataset_path": "../x.csv"}}
    document["tasks"][0]["parameters"] = {}
    place.write_text(json.dumps(document))
    assert source.read(place).parameters == {"dataset_path": str(tmp_path / "../x.csv")}


def test_an_ir_is_its_own(tmp_path: Path) -> None:
    place = ROOT / "dags" / "monitor" / "pipeline.yaml"
    assert source.ir_file(place, tmp_path) == place


def test_compile_writes_the_ir_beside_and_checks_it(home: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "workflow.yaml").write_text(yaml.safe_dump(EXAMPLE))
    assert main(["compile", "--check", str(folder)]) == 1
    assert "differs from its workflow.yaml" in capsys.readouterr().out
    assert main(["compile", str(folder)]) == 0
    assert [*load(folder / "pipeline.yaml").steps] == ["preprocess-data", "train-model"]
    assert main(["compile", "--check", str(folder)]) == 0
    other = tmp_path / "other.json"
    other.write_text(json.dumps(EXAMPLE))
    assert main(["compile", str(other)]) == 0
    assert load(tmp_path / "other.pipeline.yaml").name == "training-pipeline-v1"


def test_a_file_that_is_no_document_names_itself(tmp_path: Path) -> None:
    place = tmp_path / "w.yaml"
    place.write_text("tasks: []\nworkflow_id: x\n")
    with pytest.raises(InvalidWorkflow, match=r"w\.yaml: tasks: a workflow has at least one task"):
        source.ir_file(place, tmp_path / "home")


def test_the_interfaces_of_the_tasks_are_those_of_the_components() -> None:
    from fleetml.compiler import compile_pipeline

    target = ROOT / "src" / "fleetml" / "workflow" / "tasks.yaml"
    assert compile_pipeline(ROOT / "components" / "tabular" / "tasks.py", target, check=True) == (target, False)


def test_an_unchanged_workflow_loads_no_parser_and_no_library(tmp_path: Path) -> None:
    place = tmp_path / "w.yaml"
    place.write_text(yaml.safe_dump(EXAMPLE))
    code = (
        "import sys; from pathlib import Path; from fleetml.pipeline import load; from fleetml.workflow import source;"
        f"load(source.ir_file(Path({str(place)!r}), Path({str(tmp_path)!r})), Path({str(tmp_path)!r}) / 'ir');"
        "print(sorted({'yaml', 'pydantic', 'jsonschema', 'kfp', 'numpy', 'optuna', 'fleetml.workflow.emit'} & set(sys.modules)))"
    )
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert [each.stdout.strip() for each in said] == ["['fleetml.workflow.emit', 'yaml']", "[]"]


def test_kfp_takes_the_ir_of_a_workflow(tmp_path: Path) -> None:
    from kfp import components

    place = tmp_path / "w.json"
    document = {**training(), "global_parameters": {"seed": 3}}
    place.write_text(json.dumps(document))
    target, _ = source.compile_file(place)
    made = components.load_component_from_file(str(target))
    assert made.name == "training-pipeline-v1"
    assert made.component_spec.inputs["seed"].default == 3
