"""The question that a deployed version is asked: right, wrong and no answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fleetml.deploy import smoke
from fleetml.deploy.versions import Candidate
from fleetml.errors import StepFailed, Unavailable
from fleetml.serving import backends, deployment, model
from fleetml.serving.deployment import Card
from fleetml.stack import ports


def installed(root: Path, graph: Path, version: str) -> Candidate:
    card = Card("bandwidth", version, deployment.digest(graph))
    place = deployment.install(root, card, {deployment.GRAPH: graph}) / deployment.GRAPH
    served = deployment.Deployed(version, str(place), card.sha256)
    return Candidate(model.load(root, "bandwidth", served, backends.choose("cpu")), place, True)


def test_the_server_must_answer_as_the_graph_does(
    tmp_path: Path, graph: Callable[..., Path], serve: Callable[..., str]
) -> None:
    root = tmp_path / "serving"
    own, other = installed(root, graph(), "1"), installed(root, graph(add=5.0, name="other.onnx"), "2")
    deployment.point(root, "bandwidth", "1")
    address = serve(root)
    smoke.ask(root, address, own)
    pretended = replace(other, model=replace(other.model, version="1"))
    with pytest.raises(
        StepFailed, match="must answer for bandwidth 1 as its graph does, its forecast of a row of zeros"
    ):
        smoke.ask(root, address, pretended)
    with pytest.raises(StepFailed, match="must answer for bandwidth 2, it says NOT_FOUND"):
        smoke.ask(root, address, other)


def test_a_server_that_is_not_there_is_told(
    tmp_path: Path, graph: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = installed(tmp_path / "serving", graph(), "1")
    monkeypatch.setattr(smoke, "SECONDS", 0.5)
    with pytest.raises((Unavailable, StepFailed), match="must answer for bandwidth 1, it says"):
        smoke.ask(tmp_path / "serving", f"127.0.0.1:{ports.free()}", own)


def test_a_graph_that_takes_no_zeros_is_not_asked(tmp_path: Path, graph: Callable[..., Path]) -> None:
    own = installed(tmp_path / "serving", graph(), "1")

    def refuse(inputs: Any) -> Any:
        raise RuntimeError(f"no {list(inputs)}")

    session = SimpleNamespace(inputs=own.model.session.inputs, run=refuse)
    smoke.ask(tmp_path, "127.0.0.1:1", replace(own, model=replace(own.model, session=session)))


@pytest.mark.parametrize(
    ("served", "own", "same"),
    [
        (np.float32([1.0004]), np.float32([1.0]), True),
        (np.float32([1.01]), np.float32([1.0]), False),
        (np.float32([np.nan, 1]), np.float32([np.nan, 1]), True),
        (np.float32([0, 1]), np.float32([np.nan, 1]), False),
        (np.float32([[1]]), np.float32([1]), False),
        (np.array(["a"], object), np.array(["a"], object), True),
        (np.int64([1]), np.int64([2]), False),
    ],
)
def test_what_counts_as_the_same_answer(served: Any, own: Any, same: bool) -> None:
    assert smoke._same(served, own) is same
