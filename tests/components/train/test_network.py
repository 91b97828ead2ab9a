"""train_network: a graph of given shape, over processes, from its checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.train.network import train_network
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn.windows import Windows


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


@pytest.mark.parametrize("processes", [1, 2])
def test_a_network_is_trained(step: Callable[..., tuple[Artifact, Artifact]], tmp_path: Path, processes: int) -> None:
    model, metrics = step(processes=processes)
    assert model.metadata["family"] == "mlp"
    assert 0 < metrics.metadata["validation_mase"] == pytest.approx(model.metadata["validation_mase"], abs=1e-4)
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"processes": 0}, {"processes": 65}, {"epochs": 0}, {"batch_size": 0}, {"hyperparameters": {"width": -1}}]
)
def test_what_cannot_be(step: Callable[..., tuple[Artifact, Artifact]], wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter):
        step(**wrong)
