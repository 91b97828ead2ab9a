"""models, promote, rollback, split: what they say and what they refuse; the work is tested in tests/serving/rollout."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.serving import deployment
from fleetml.serving.deployment import Card
from fleetml.serving.rollout import progress
from fleetml.settings import Settings


@pytest.fixture
def root(project: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Version 2 of a model is served, 1 was before it, 3 is installed; its registry is down."""
    monkeypatch.setenv("FLEETML_REGISTRY", "http://127.0.0.1:1")
    graph = tmp_path / "graph"
    graph.write_bytes(b"any")
    for version in ("1", "2", "3"):
        deployment.install(
            project.serving_dir, Card("cpu", version, deployment.digest(graph)), {deployment.GRAPH: graph}
        )
    for version in ("1", "2"):
        deployment.point(project.serving_dir, "cpu", version)
    return project.serving_dir


def test_what_is_served_and_what_is_on_its_way(
    root: Path, fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleetml("split", "cpu", "3", "0.2", "--reason", "to see") == 0
    assert "cpu: split from 2 to 2 + 20% 3 (ab)" in capsys.readouterr().out
    assert fleetml("models") == 0
    assert "cpu    2       1         ab of 3 at 20%  none yet" in capsys.readouterr().out
    rollout = deployment.read(root)["cpu"].rollout
    assert rollout is not None
    progress.write(root, "cpu", progress.State(rollout.id, 0.2, "", {}, {"reason": "error -10 %"}))
    assert fleetml("models", "cpu") == 0
    said = capsys.readouterr().out
    assert "error -10 %" in said
    assert "in the serving folder: 1, 2, 3" in said
    assert fleetml("promote", "cpu") == 0
    assert "no server runs; version 3 answers once one is started" in capsys.readouterr().out


def test_the_trail(root: Path, fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert fleetml("models", "--audit") == 0
    assert "nothing changed in" in capsys.readouterr().err
    assert fleetml("rollback", "cpu", "--reason", "too high") == 0
    capsys.readouterr()
    assert fleetml("models", "--audit") == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["TIME", "WHO", "MODEL", "ACTION", "FROM", "TO", "REASON"]
    assert line.split()[2:] == ["cpu", "rollback", "2", "1", "too", "high"]
    assert fleetml("models", "cpu", "--audit", "--json") == 0
    assert '"reason": "too high"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("promote", "bandwidth"), "'bandwidth' is not served; served: cpu"),
        (("promote", "cpu"), "promote needs a version"),
        (("promote", "cpu", "9"), "there: 1, 2, 3"),
        (("split", "cpu", "2", "10%"), "version 2 of cpu is served already; try another version beside it"),
        (("models", "bandwidth"), "'bandwidth' is not served; served: cpu"),
    ],
)
def test_what_is_refused(
    root: Path, fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert fleetml(*words) == 2
    assert said in capsys.readouterr().err


def test_a_share_that_is_no_number(root: Path, fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fleetml("split", "cpu", "3", "half")
    assert "a share is a number such as 0.1 or 10%" in capsys.readouterr().err


def test_a_share_is_told_as_it_was_given(
    root: Path, fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        fleetml("split", "cpu", "3", "120%")
    assert "between 0 and 1, that is 0% and 100%, got 120%" in capsys.readouterr().err


def test_before_the_first_deployment(fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert fleetml("models") == 0
    assert "nothing is served in" in capsys.readouterr().err
