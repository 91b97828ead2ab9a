"""train_network: a graph of given shape, over processes, from its checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.train.network import train_network
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter, StepFailed
from fleetml.learn import network_training
from fleetml.learn.windows import Windows

WATCHED = """
import hashlib, os, signal, sys
from pathlib import Path

from fleetml.learn import network_training
from fleetml.learn.distributed import Checkpoint

write = Checkpoint.write


def watched(self, state):
    write(self, state)
    weights = b"".join(weight.numpy().tobytes() for weight in state["network"].values())
    with Path(os.environ["TOLD"]).open("a") as told:
        told.write(f"{state['epoch']} {state['best']!r} {hashlib.sha256(weights).hexdigest()}\\n")
    if str(state["epoch"]) == os.environ["DIES_AFTER"]:
        os.kill(os.getpid(), signal.SIGKILL)


Checkpoint.write = watched
sys.exit(network_training.main(sys.argv[1:]))
"""


@pytest.fixture
def step(tmp_path: Path, windows: Callable[..., Windows]) -> Callable[..., tuple[Artifact, Artifact]]:
    """Return a function that runs the step and returns its model and metrics."""
    windows(120).save(tmp_path / "train")
    windows(40, seed=1).save(tmp_path / "val")
    plain: dict[str, Any] = {"family": "mlp", "hyperparameters": {"width": 32}, "processes": 1, "epochs": 2}
    plain |= {"batch_size": 64, "checkpoint_dir": str(tmp_path / "checkpoints"), "seed": 0}

    def run(**changes: Any) -> tuple[Artifact, Artifact]:
        model, metrics = Artifact("model", str(tmp_path / "model")), Artifact("metrics", str(tmp_path / "metrics"))
        data = Artifact("train", str(tmp_path / "train")), Artifact("val", str(tmp_path / "val"))
        train_network(*data, **{**plain, **changes}, model=model, metrics=metrics)
        return model, metrics

    return run


def test_a_network_is_trained(step: Callable[..., tuple[Artifact, Artifact]], tmp_path: Path) -> None:
    model, metrics = step()
    assert model.metadata["family"] == "mlp"
    assert 0 < metrics.metadata["validation_mase"] == pytest.approx(model.metadata["validation_mase"], abs=1e-4)
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"processes": 0}, {"processes": 65}, {"epochs": 0}, {"batch_size": 0}, {"hyperparameters": {"width": -1}}]
)
def test_what_cannot_be(step: Callable[..., tuple[Artifact, Artifact]], wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter):
        step(**wrong)


def test_two_processes_killed_after_an_epoch_and_resumed_are_bit_for_bit_the_same(
    step: Callable[..., tuple[Artifact, Artifact]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, which each process draws for itself."""
    (tmp_path / "watched.py").write_text(WATCHED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(network_training, "MODULE", "watched")

    def train(name: str, dies_after: int = 0) -> tuple[bytes, list[str]]:
        monkeypatch.setenv("TOLD", str(tmp_path / name))
        monkeypatch.setenv("DIES_AFTER", str(dies_after))
        model, _ = step(processes=2, epochs=3, hyperparameters={"width": 32, "dropout": 0.2})
        return model.path.read_bytes(), (tmp_path / name).read_text().splitlines()

    graph, epochs = train("whole")
    assert len(epochs) == 3
    with pytest.raises(StepFailed, match=r"process 0 was ended by SIGKILL.*run again with the same checkpoint_dir"):
        train("killed", dies_after=1)
    assert (tmp_path / "killed").read_text().splitlines() == epochs[:1]
    assert train("resumed") == (graph, epochs[1:])
    assert list((tmp_path / "checkpoints").iterdir()) == []
