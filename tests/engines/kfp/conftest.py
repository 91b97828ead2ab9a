"""A server that holds requests to the contract of KFP's API, and a project with an image table."""

from pathlib import Path

import pytest
import yaml

PIPELINES = Path(__file__).parents[2] / "pipelines"


DIGEST = "sha256:" + "a" * 64


TABLE = """
[images."fleetml/ml"]
venv = ".venv"
locks = []
registry = "{registry}"
digest = "{digest}"
[aliases]
"python:3.1?" = "fleetml/ml"
"""


@pytest.fixture
def server():
    from tests.engines.kfp.contract import Contract

    with Contract() as running:
        yield running


def project(folder, registry="registry.example/fleetml-ml", digest=DIGEST):
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "images.toml").write_text(TABLE.format(registry=registry, digest=digest))
    return folder


@pytest.fixture
def ir_file(tmp_path):
    def make(name, change):
        document = yaml.safe_load((PIPELINES / f"{name}.yaml").read_text())
        change(document)
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return make
