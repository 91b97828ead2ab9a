"""Pipelines whose steps hand artifacts on, and their runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetml.engines.local import Job, run
from fleetml.pipeline import load
from fleetml.records import Attempt, Run
from fleetml.settings import Settings
from tests.small_pipelines import calling, output_of, write

CODE = """
def make(word, data):
    data.path.mkdir()
    (data.path / "words").write_text(word)
    (data.path / "empty").mkdir()
    (data.path / "link").symlink_to("words")
    data.metadata["words"] = str(data.path / "words")
    return {"place": str(data.path / "words")}

def use(data, place, seen):
    assert not str(data.path).startswith("s3:"), data.path
    assert (data.path / "link").read_text() == open(place).read() == open(data.metadata["words"]).read()
    assert (data.path / "empty").is_dir()
    seen.path.write_text((data.path / "words").read_text().upper())
    print("used")
"""
STRING = {"parameterType": "STRING"}


def artifacts(**titles: str) -> dict[str, Any]:
    """Return the definitions of artifacts by the titles of their schemas."""
    return {
        "artifacts": {
            name: {"artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}} for name, title in titles.items()
        }
    }


@pytest.fixture
def two_steps(stage: Callable[[str], str], tmp_path: Path) -> Path:
    """Return the IR of two steps: the first makes a folder, the second reads it."""
    module, data = stage(CODE), artifacts(data="system.Dataset")
    components = {
        "make": {
            "inputDefinitions": {"parameters": {"word": STRING}},
            "outputDefinitions": {"parameters": {"place": STRING}, **data},
        },
        "use": {
            "inputDefinitions": {"parameters": {"place": STRING}, **data},
            "outputDefinitions": artifacts(seen="system.Artifact"),
        },
    }
    read = {
        "parameters": {"place": output_of("make", "place")},
        "artifacts": {"data": output_of("make", "data", "Artifact")},
    }
    tasks = {
        "make": {"inputs": {"parameters": {"word": {"componentInputParameter": "word"}}}},
        "use": {"dependentTasks": ["make"], "inputs": read},
    }
    executors = {name: calling(f"{module}:{name}") for name in tasks}
    return write(tmp_path / "pipeline.yaml", tasks, components, executors, {"word": STRING})


@pytest.fixture
def importing(stage: Callable[[str], str], tmp_path: Path) -> Callable[[Settings, str], dict[str, Attempt]]:
    """Return a function that runs a pipeline of an importer and a step that reads what it brought in."""
    count = iter(range(100))
    code = "def use(artifact, seen):\n    assert artifact.path.exists()\n    seen.path.write_text('')\n"
    one = artifacts(artifact="system.Artifact")
    components = {
        "importer": {"outputDefinitions": one},
        "use": {"inputDefinitions": one, "outputDefinitions": artifacts(seen="system.Artifact")},
    }
    read = {"artifacts": {"artifact": output_of("importer", "artifact", "Artifact")}}
    tasks = {"importer": {"cachingOptions": {}}, "use": {"dependentTasks": ["importer"], "inputs": read}}

    def go(settings: Settings, uri: str) -> dict[str, Attempt]:
        schema = one["artifacts"]["artifact"]["artifactType"]
        importer = {"importer": {"artifactUri": {"constant": uri}, "typeSchema": schema}}
        executors = {"importer": importer, "use": calling(f"{stage(code)}:use")}
        path = write(tmp_path / "importing.yaml", tasks, components, executors)
        run_id = f"importing-{next(count)}"
        run(Job(load(path), path, {}, run_id), settings)
        return Run(settings.home, run_id).latest()

    return go


def go(pipeline: Path, settings: Settings, run_id: str, word: str = "hello") -> dict[str, Attempt]:
    """Run `two_steps`; return the last attempt of each step."""
    plan = load(pipeline)
    run(Job(plan, pipeline, plan.bind({"word": word}), run_id, workers=2), settings)
    return Run(settings.home, run_id).latest()


def artifact(attempt: Attempt, name: str) -> dict[str, Any]:
    return dict((attempt.outcome or {})["artifacts"][name][0])
