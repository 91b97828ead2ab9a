"""Several processes train what one does; a training that was killed goes on as if it never was."""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

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


def test_a_training_goes_on_with_another_number_of_processes(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(job, epochs=3, checkpoint=str(tmp_path / "checkpoint.pt"))
    states: list[dict[str, Any]] = []
    with monkeypatch.context() as watched:
        watched.setattr(Checkpoint, "write", lambda self, state: states.append(copy.deepcopy(state)))
        whole = network_training.run(job)
    Checkpoint(Path(job.checkpoint), job.about()).write(states[0])
    (tmp_path / "job.json").write_text(json.dumps(asdict(job)))
    distributed.launch(network_training.MODULE, [str(tmp_path / "job.json")], 2)
    last = Checkpoint(Path(job.checkpoint), job.about()).read()
    assert last is not None
    assert (last["epoch"], last["best"]) == (3, pytest.approx(whole, abs=1e-4))
    for name, weight in last["network"].items():
        assert torch.allclose(weight, states[-1]["network"][name], atol=1e-3), name


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


TORCHRUN = """{said}
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
dying FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-01-01_00:00:00
  host      : here
  rank      : {second[0]} (local_rank: {second[0]})
  exitcode  : {second[1]} (pid: 12) {second[2]}
  error_file: <N/A>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-01-01_00:00:00
  host      : here
  rank      : {first[0]} (local_rank: {first[0]})
  exitcode  : {first[1]} (pid: 11) {first[2]}
  error_file: <N/A>
"""


@pytest.mark.parametrize(
    ("said", "first", "second", "told"),
    [
        ("error: rows must be 3\n", (0, 1, ""), (1, -15, "(SIGTERM)"), "rows must be 3"),
        ("[rank0]: RuntimeError: gone\n", (0, 1, ""), (1, -9, "(SIGKILL)"), "process 1 was ended by SIGKILL (memory"),
        ("", (1, -15, "(SIGTERM)"), (0, -11, "(SIGSEGV)"), "process 0 was ended by SIGSEGV"),
        ("[rank0]: a.b.StoreError: late\n", (0, 1, ""), (1, -15, "(SIGTERM)"), "a.b.StoreError: late"),
    ],
)
def test_the_cause_is_told_of_what_torchrun_says(said: str, first: Any, second: Any, told: str) -> None:
    assert distributed._cause(TORCHRUN.format(said=said, first=first, second=second)).startswith(told)


def test_a_process_that_hangs_fails_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that waits does so for 3 s here; both are at the same place before."""
    (tmp_path / "hanging.py").write_text(
        "import os, signal, sys\nfrom pathlib import Path\nfrom fleetml.learn import distributed\n"
        "from fleetml.stack.processes import wait_until\n"
        "folder, rank = Path(sys.argv[1]), os.environ['RANK']\n(folder / rank).touch()\n"
        "assert wait_until(lambda: all((folder / each).exists() for each in '01'), 120, 0.02)\n"
        "distributed.SECONDS = 60 if rank == '1' else 3\n"
        "with distributed.joined() as world:\n"
        "    if world.rank:\n        signal.pause()\n"
        "    distributed.distributed.barrier()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StepFailed, match="all 2 processes of a training must end well"):
        distributed.launch("hanging", [str(tmp_path)], 2)


def test_a_users_mistake_in_a_process_is_told(job: Job, tmp_path: Path) -> None:
    (tmp_path / "train").write_bytes(b"none")
    (tmp_path / "job.json").write_text(json.dumps(vars(job)))
    assert network_training.main([str(tmp_path / "job.json")]) == 1
    with pytest.raises(InvalidParameter, match="must be one of"):
        network_training.complete("forest", {})
    with pytest.raises(InvalidParameter, match="got 'trees'"):
        network_training.complete("mlp", {"trees": 3})
    with pytest.raises(InvalidParameter, match="lies from 32 to 256, got 1"):
        network_training.complete("mlp", {"width": 1})
