"""What a step puts out: parameters, artifacts, metadata, wherever its author wrote them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.pipeline import Inputs
from fleetml.pipeline.model import ArtifactDefinition, Container, Parameter
from fleetml.step import StepOutcome, exchange
from tests.step.conftest import GOOD, step


@pytest.mark.parametrize(
    "written",
    [
        "not JSON",
        "[1]",
        "\xff",
        '{"parameterValues": 5}',
        '{"artifacts": {"data": []}}',
        '{"artifacts": {"data": {"artifacts": {"a": 1}}}}',
        '{"artifacts": {"data": {"artifacts": ["x"]}}}',
        '{"artifacts": {"data": {"artifacts": [{"uri": 5}]}}}',
        '{"artifacts": {"data": {"artifacts": [{"metadata": [1]}]}}}',
    ],
)
def test_an_executor_output_that_is_none_is_refused(go: Callable[..., StepOutcome], written: str) -> None:
    code = (
        "import pathlib, sys, json\n"
        "def work(n, data, metrics):\n"
        "    place = json.loads(sys.argv[2])['outputs']['outputFile']\n"
        f"    pathlib.Path(place).parent.mkdir(exist_ok=True); pathlib.Path(place).write_text({written!r}, 'latin-1')\n"
        "    import os; os._exit(0)\n"
    )
    outcome = go(code)
    assert outcome.failure is not None
    assert "executor_output.json must be" in outcome.failure.message
    assert outcome.failure.user_error


def test_output_parameters_may_be_files(go: Callable[..., StepOutcome]) -> None:
    command = ("sh", "-c", 'echo 12 > "$0"; echo x > "$1"', "{{$.outputs.parameters['double'].output_file}}")
    container = Container("fleetml/ml", command, ("{{$.outputs.artifacts['data'].path}}",))
    outcome = go(container=container)
    assert (outcome.state, outcome.parameters) == ("succeeded", {"double": 12})


@pytest.mark.parametrize("folder", [False, True])
def test_an_artifact_written_to_a_path_of_the_author_s_is_brought_home(
    go: Callable[..., StepOutcome], tmp_path: Path, folder: bool
) -> None:
    """As kfp's executor tells of it after ``artifact.set_path(…)``."""
    own = tmp_path / "own"
    code = (
        "import json, os, pathlib, sys\n"
        "def work(n, data, metrics):\n"
        f"    own = pathlib.Path({str(own)!r})\n"
        f"    file = own / 'f' if {folder} else own\n"
        "    file.parent.mkdir(exist_ok=True); file.write_text('mine')\n"
        "    said = {'parameterValues': {'double': 2}, 'artifacts': {'data': {'artifacts': [{'custom_path': str(own)}]}}}\n"
        "    place = pathlib.Path(json.loads(sys.argv[2])['outputs']['outputFile'])\n"
        "    place.parent.mkdir(exist_ok=True); place.write_text(json.dumps(said)); os._exit(0)\n"
    )
    outcome = go(code)
    (data,) = outcome.artifacts["data"]
    assert not data["uri"].startswith(str(own))
    assert (Path(data["uri"]) / ("f" if folder else "")).read_text() == "mine"


@pytest.mark.parametrize("uri", ["/etc", "data.csv", "file:///etc/hosts", ""])
def test_an_output_that_is_said_to_lie_elsewhere_is_refused(go: Callable[..., StepOutcome], uri: str) -> None:
    outcome = go(GOOD.replace('data.path.write_text("x" * n)', f"data.uri = {uri!r} or 'x'"))
    assert outcome.failure is not None
    assert "lies where the step was told to write it, output artifact 'data'" in outcome.failure.message


def test_paths_that_a_step_tells_are_those_of_the_published_result(go: Callable[..., StepOutcome]) -> None:
    code = (
        "def work(n, data, metrics):\n"
        "    data.path.mkdir(); (data.path / 'f').write_text('x')\n"
        "    data.metadata['where'] = str(data.path / 'f')\n"
        "    return {'double': str(data.path)}\n"
    )
    outcome = go(code, output_parameters={"double": Parameter("double", "STRING")})
    (data,) = outcome.artifacts["data"]
    assert outcome.parameters["double"] == data["uri"]
    assert Path(data["metadata"]["where"]).read_text() == "x"


def test_what_json_lacks_in_metadata_is_written_as_protojson_does(go: Callable[..., StepOutcome]) -> None:
    code = GOOD.replace("metrics.log(", "metrics.log(nothing=float('nan'), far=float('inf'), ")
    assert go(code).figures == {"nothing": "NaN", "far": "Infinity", "size": 3}


def test_an_artifact_in_a_remote_store_is_not_cached(go: Callable[..., StepOutcome]) -> None:
    code = GOOD.replace('data.path.write_text("x" * n)', "data.uri = 's3://bucket/key'")
    first, second = go(code), go(code)
    assert first.artifacts["data"][0]["uri"] == "s3://bucket/key"
    assert not second.cached


@pytest.mark.parametrize(("uri", "seen"), [("file:///a/b", "/a/b"), ("/a/b", "/a/b"), ("s3://a/b", "s3://a/b")])
def test_a_file_url_is_a_path_to_a_step(uri: str, seen: str, tmp_path: Path) -> None:
    """KFP's executor takes the URI of an artifact as its path, unless it is one of a remote store."""
    given = step("m:work", input_artifacts={"model": ArtifactDefinition("model", "system.Model")})
    document = exchange.executor_input(given, Inputs({}, {"model": [{"uri": uri}]}), tmp_path)
    assert document["inputs"]["artifacts"]["model"]["artifacts"][0]["uri"] == seen
