"""The key: what is part of it and what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetml import cache
from fleetml.images import Image, Images
from fleetml.pipeline import Inputs, Step
from fleetml.pipeline.model import ArtifactDefinition, Container, Parameter, Resources, Retry
from fleetml.settings import Settings

ITEM = {"name": "a", "type": "system.Dataset", "uri": "/x", "digest": "1" * 64, "metadata": {"rows": 3}}
INPUTS = Inputs({"n": 3, "share": 0.5}, {"data": [ITEM]})


@pytest.fixture
def image(project: Settings) -> Image:
    return Images(project.project).resolve("fleetml/ml")


def step(**changed: Any) -> Step:
    known: dict[str, Any] = {
        "name": "work",
        "label": "Work",
        "component": "comp-work",
        "container": Container("fleetml/ml", ("python", "-m", "fleetml.component", "m:f"), ("{{$}}",), {"A": "1"}),
        "input_parameters": {"n": Parameter("n", "NUMBER_INTEGER"), "share": Parameter("share", "NUMBER_DOUBLE")},
        "input_artifacts": {"data": ArtifactDefinition("data", "system.Dataset")},
        "output_parameters": {"out": Parameter("out", "STRING")},
    }
    return Step(**{**known, **changed})


def made(image: Image, inputs: Inputs = INPUTS, **changed: Any) -> str:
    key = cache.key(step(**changed), inputs, image)
    assert key is not None
    return key.digest


def artifact(**changed: Any) -> Inputs:
    return replace(INPUTS, artifacts={"data": [{**ITEM, **changed}]})


def test_the_key_is_known_and_the_same_on_every_machine() -> None:
    """A change here throws away every cache: raise `cache.FORMAT` and say so in the changelog."""
    image = Image("fleetml/ml", Path("/p"), Path("/v"), "lock", _known={"environment": "e", "code None": "c"})
    key = cache.key(step(), INPUTS, image)
    assert key is not None
    assert key.digest == "77683c677616fde06a71d388bcef989362a4d6f48f5701136bd47ba3ea033716"


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "group/other"},
        {"label": "Other"},
        {"component": "comp-other"},
        {"retry": Retry(3)},
        {"inputs": replace(INPUTS, resources=Resources(cpu_limit="2"))},
        {"inputs": artifact(uri="/y", name="b")},
        {"input_parameters": {n: replace(p, description="x") for n, p in step().input_parameters.items()}},
    ],
    ids=["name", "label", "component's id", "retries", "resources", "URI and name", "description"],
)
def test_left_out_of_the_key(image: Image, changed: dict[str, Any]) -> None:
    assert made(image, **changed) == made(image)


@pytest.mark.parametrize(
    "changed",
    [
        {"container": Container("fleetml/ml", ("python", "-m", "fleetml.component", "m:g"), ("{{$}}",), {"A": "1"})},
        {"container": replace(step().container, args=("{{$}}", "x"))},
        {"container": replace(step().container, env={"A": "2"})},
        {"output_parameters": {"out": Parameter("out", "NUMBER_DOUBLE")}},
        {"output_artifacts": {"more": ArtifactDefinition("more", "system.Model")}},
        {"inputs": replace(INPUTS, parameters={"n": 4, "share": 0.5})},
        {"inputs": artifact(digest="2" * 64)},
        {"inputs": artifact(metadata={"rows": 4})},
        {"inputs": artifact(type="system.Model")},
    ],
    ids=["command", "args", "env", "output type", "output", "parameter", "content", "metadata", "artifact type"],
)
def test_part_of_the_key(image: Image, changed: dict[str, Any]) -> None:
    assert made(image, **changed) != made(image)


def test_a_task_s_name_counts_where_the_command_asks_for_it(image: Image) -> None:
    asks = replace(step().container, args=("{{$.pipeline_task_name}}",))
    assert made(image, container=asks) != made(image, container=asks, name="other")


def test_an_artifact_of_unknown_content_makes_a_step_uncacheable(image: Image) -> None:
    assert cache.key(step(), artifact(digest=""), image) is None
    assert cache.key(step(cacheable=False), INPUTS, image) is None


def test_the_entry_of_a_step() -> None:
    assert cache.entry(step()) == "m:f"
    assert cache.entry(step(container=Container("i", ("sh", "-c", "x"), ("m:f",)))) == ""
    split = Container("i", ("python", "-m"), ("fleetml.component", "m:f", "{{$}}"))
    assert cache.entry(step(container=split)) == "m:f"


def test_what_a_step_sees_of_its_cluster_is_part_of_the_key_and_where_it_runs_is_not(image: Image) -> None:
    secret = {"secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "V"}]}]}
    assert made(image, replace(INPUTS, platform=secret)) != made(image)
    where = {"nodeSelector": {"labels": {"disk": "ssd"}}, "activeDeadlineSeconds": 5}
    assert made(image, replace(INPUTS, platform=where)) == made(image)
