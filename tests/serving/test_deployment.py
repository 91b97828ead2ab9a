"""The serving folder: pointing, going back, two writers at once, and what breaks it."""

import threading
from pathlib import Path

import pytest

from fleetml.errors import ConfigurationError, InvalidParameter
from fleetml.serving import deployment
from fleetml.serving.deployment import Card


def _install(root: Path, source: Path, name: str, version: str) -> None:
    source.write_text(version)
    card = Card(name, version, deployment.digest(source), mase=1.0, metadata={"family": "test"})
    deployment.install(root, card, {deployment.GRAPH: source})


def test_pointing_and_going_back(tmp_path: Path) -> None:
    root = tmp_path / "serving"
    for version in ("1", "2"):
        _install(root, tmp_path / "g", "bandwidth", version)
    assert deployment.point(root, "bandwidth", "1") is None
    before = deployment.point(root, "bandwidth", "2")
    assert deployment.read(root)["bandwidth"].previous == "1"
    deployment.restore(root, "bandwidth", "2", before)
    assert deployment.read(root)["bandwidth"].version == "1"
    deployment.restore(root, "bandwidth", "1", None)
    assert deployment.read(root) == {}


def test_who_takes_its_version_back_leaves_what_another_deployed_meanwhile(tmp_path: Path) -> None:
    root = tmp_path / "serving"
    for version in ("1", "2", "3"):
        _install(root, tmp_path / "g", "bandwidth", version)
    deployment.point(root, "bandwidth", "1")
    before = deployment.point(root, "bandwidth", "2")
    deployment.point(root, "bandwidth", "3")
    deployment.restore(root, "bandwidth", "2", before)
    served = deployment.read(root)["bandwidth"]
    assert (served.version, served.previous) == ("3", "1")


def test_a_version_installed_again_replaces_the_first_attempt(tmp_path: Path) -> None:
    _install(tmp_path, tmp_path / "g", "cpu", "1")
    (tmp_path / "models/cpu/1/leftover").write_text("half")
    _install(tmp_path, tmp_path / "g", "cpu", "1")
    assert sorted(p.name for p in (tmp_path / "models/cpu/1").iterdir()) == ["model.json", "model.onnx"]
    assert [p.name for p in (tmp_path / "models/cpu").iterdir()] == ["1"]  # nothing half-written beside it
    card = deployment.card(tmp_path / "models/cpu/1/model.onnx")
    assert card is not None
    assert card.confidence == 0.5


def test_models_deployed_at_once_do_not_lose_each_other(tmp_path: Path) -> None:
    names = [f"model{number}" for number in range(8)]
    for name in names:
        _install(tmp_path, tmp_path / "g", name, "1")
    threads = [threading.Thread(target=deployment.point, args=(tmp_path, name, "1")) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(deployment.read(tmp_path)) == names


@pytest.mark.parametrize("name", ["", "../evil", "a/b", ".hidden", "with space"])
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidParameter, match="letters, digits"):
        deployment.folder(tmp_path, name, "1")


def test_a_broken_deployment_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "deployment.json").write_text('{"models": {"bandwidth": {"version": "1"}}}')
    with pytest.raises(ConfigurationError, match=r"deployment\.json must be the deployment file"):
        deployment.read(tmp_path)


def test_what_cannot_be_read_counts_as_unsaid(tmp_path: Path) -> None:
    assert deployment.status(tmp_path) == {}
    (tmp_path / "server.json").write_text("[1]")
    assert deployment.status(tmp_path) == {}
    assert deployment.card(tmp_path / "model.onnx") is None
    assert Card("bandwidth", "1", "").confidence == 0.0
