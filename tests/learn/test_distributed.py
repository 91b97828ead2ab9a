"""Several processes train what one does; a training that was killed goes on as if it never was."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fleetml.errors import InvalidData, InvalidParameter, StepFailed
from fleetml.learn import distributed, network_training
from fleetml.learn.distributed import Checkpoint, World
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.network_training import Job
from fleetml.learn.windows import Windows


@pytest.fixture
def job(tmp_path: Path, windows: Callable[..., Windows]) -> Job:
    """Two epochs of a small network without dropout, which each process would draw for itself."""
    windows(601).save(tmp_path / "train")
    windows(100, seed=1).save(tmp_path / "val")
    shape = network_training.complete("mlp", {"width": 32, "dropout": 0.0})
    data = str(tmp_path / "train"), str(tmp_path / "val")
    return Job(*data, "mlp", shape, 2, 256, 0, "", str(tmp_path / "graph.onnx"))


def test_two_processes_train_what_one_does(job: Job, tmp_path: Path, windows: Callable[..., Windows]) -> None:
    import json
    from dataclasses import asdict

    from fleetml.learn import metrics

    alone = network_training.run(job)
    one = Forecaster(Path(job.graph))
    two_file = tmp_path / "two.onnx"
    (tmp_path / "job.json").write_text(json.dumps({**asdict(job), "graph": str(two_file)}))
    distributed.launch(network_training.MODULE, [str(tmp_path / "job.json")], 2)
    val = windows(100, seed=1)
    scores = [metrics.mase(val, found.forecast(val)) for found in (one, Forecaster(two_file))]
    assert scores[0] == pytest.approx(alone, abs=1e-4)
    assert scores[1] == pytest.approx(alone, abs=1e-4)


def test_a_batch_is_dealt_out_whole() -> None:
    rows = torch.arange(7)
    parts = [World(rank, 3).share(rows) for rank in range(3)]
    assert sorted(torch.cat([own for own, _ in parts]).tolist()) == rows.tolist()
    assert {count for _, count in parts} == {7 / 3}
    own, count = World(2, 3).share(rows[:2])
    assert (own.tolist(), count) == ([0], float("inf"))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_killed_after_an_epoch_and_resumed_is_bit_for_bit_the_same(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    job = replace(job, epochs=3, hyperparameters={**job.hyperparameters, "dropout": dropout})
    whole = network_training.run(job)
    graph = Path(job.graph).read_bytes()
    job = replace(job, checkpoint=str(tmp_path / "checkpoint.pt"))
    write = Checkpoint.write

    def dies(self: Checkpoint, state: dict[str, object]) -> None:
        write(self, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        network_training.run(job)
    with monkeypatch.context() as watched:
        epochs: list[object] = []
        watched.setattr(Checkpoint, "write", lambda self, state: epochs.append(state["epoch"]))
        assert network_training.run(job) == whole
    assert epochs == [2, 3]
    assert Path(job.graph).read_bytes() == graph


def test_a_checkpoint_of_another_training_or_with_code_is_refused(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    Checkpoint(path, "one").write({"epoch": 1})
    assert Checkpoint(path, "one").read() == {"epoch": 1}
    with pytest.raises(InvalidData, match="is of one, this is two; name another folder"):
        Checkpoint(path, "two").read()
    torch.save({"about": "one", "code": Path}, path)
    with pytest.raises(InvalidData, match="must be a checkpoint"):
        Checkpoint(path, "one").read()
    assert Checkpoint(tmp_path / "none", "one").read() is None


def test_a_process_that_dies_fails_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dying.py").write_text(
        "import os, signal\nfrom fleetml.learn import distributed\n"
        "with distributed.joined() as world:\n"
        "    if world.rank:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    world.agreed(1.0)\n    distributed.distributed.barrier()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StepFailed, match="all 2 processes of a training must end well"):
        distributed.launch("dying", [], 2)


def test_a_users_mistake_in_a_process_is_told(job: Job, tmp_path: Path) -> None:
    (tmp_path / "train").write_bytes(b"none")
    (tmp_path / "job.json").write_text(__import__("json").dumps(vars(job)))
    assert network_training.main([str(tmp_path / "job.json")]) == 1
    with pytest.raises(InvalidParameter, match="must be one of"):
        network_training.complete("forest", {})
    with pytest.raises(InvalidParameter, match="got 'trees'"):
        network_training.complete("mlp", {"trees": 3})
    with pytest.raises(InvalidParameter, match="lies from 32 to 256, got 1"):
        network_training.complete("mlp", {"width": 1})
