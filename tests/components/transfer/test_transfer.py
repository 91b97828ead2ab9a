"""The fleet's model for a new group of VMs: better where that can be shown, untouched where not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.transfer.transfer import transfer
from fleetml.component import Artifact
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn import conformal, export, graph, metrics, network_training, parameters, quantile_head
from fleetml.learn import transfer as learn
from fleetml.learn.architectures import architecture
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.neural import Network
from fleetml.learn.windows import Meta, Windows


@pytest.fixture
def fleet(tmp_path: Path, meta: Meta) -> Path:
    """The graph of a network, its first weights."""
    torch.manual_seed(0)
    shape = network_training.complete("mlp", {"width": 32, "dropout": 0.0})
    path = tmp_path / "fleet.onnx"
    path.write_bytes(export.from_torch(Network(meta, architecture("mlp", shape)), meta, shape).SerializeToString())
    return path


def rising(windows: Windows) -> Windows:
    """VMs whose future is twice their past, which no forecast of the fleet's says."""
    level = np.median(windows.history, axis=1, keepdims=True)
    windows.target[:] = 2 * level
    return windows


@pytest.mark.parametrize("mode", learn.MODES)
def test_each_mode_moves_its_own_weights_and_is_better(fleet: Path, windows: Callable[..., Windows], mode: str) -> None:
    few, held, test = (rising(windows(80, seed=seed)) for seed in (1, 2, 3))
    before = graph.load(fleet)
    found = learn.transfer(before, few, held, [mode], epochs=20, seed=0)
    assert found.mode == mode
    assert found.reason.startswith(f"{mode} is ")
    assert "better than the fleet's model on" in found.reason
    scores = [metrics.mase(test, Forecaster(g.SerializeToString()).forecast(test)) for g in (before, found.graph)]
    assert scores[1] < scores[0]
    old, new = (dict(parameters.rebuilt(each).named_parameters()) for each in (before, found.graph))
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    assert moved
    assert all(name.startswith(learn.MODES[mode].moves) for name in moved)


def test_what_does_not_help_leaves_the_fleets_model(fleet: Path, windows: Callable[..., Windows]) -> None:
    few, held = rising(windows(30, seed=1)), windows(40, seed=2)
    held.target[:] = held.history[:, -1:]
    found = learn.transfer(graph.load(fleet), few, held, ["all"], epochs=3)
    assert found.mode == learn.NONE
    assert found.scores["all"] > 0.99 * found.scores[learn.NONE]
    assert found.graph.SerializeToString() == graph.load(fleet).SerializeToString()


def test_what_reports_has_chosen_nothing(fleet: Path, windows: Callable[..., Windows]) -> None:
    """The later half is as the fleet's model says: what the first half chose is told by it alone."""
    few, held = rising(windows(60, seed=1)), rising(windows(60, seed=2))
    parts = learn.dealt(held)
    assert parts
    choice, report = parts
    step = np.timedelta64(held.meta.step_seconds, "s")
    assert (choice.origin + held.meta.horizon * step).max() <= report.origin.min()
    assert len(report) == 30
    held.target[np.isin(held.origin, report.origin)] = Forecaster(fleet).forecast(report)
    found = learn.transfer(graph.load(fleet), few, held, epochs=10)
    assert (found.mode, found.apart, found.judged) == (learn.NONE, True, 30)
    assert found.scores["all"] > found.scores[learn.NONE]
    assert "is not 1% better on 30 held-out windows: the fleet's model as it is" in found.reason
    assert found.scores[learn.NONE] == 0


def test_few_moments_are_dealt_by_vm_and_too_few_say_so(fleet: Path, windows: Callable[..., Windows]) -> None:
    held = rising(windows(40, seed=2))
    held.origin[:] = held.origin[0]
    choice, report = learn.dealt(held) or pytest.fail("40 windows of ten VMs can be dealt")
    assert not set(choice.vm_id) & set(report.vm_id)
    held = rising(windows(learn.LEAST, seed=2))
    assert learn.dealt(held) is None
    found = learn.transfer(graph.load(fleet), rising(windows(40, seed=1)), held, ["adapter"], epochs=5)
    assert (found.apart, found.judged) == (False, learn.LEAST)
    assert "too few to be dealt apart: they chose the epoch and the mode too" in found.reason


@pytest.fixture
def step(fleet: Path, tmp_path: Path, windows: Callable[..., Windows]) -> Callable[..., tuple[Artifact, Artifact]]:
    """Return a function that runs the step on `few` windows and returns its model and metrics."""

    def run(few: int = 40, **changes: Any) -> tuple[Artifact, Artifact]:
        rising(windows(40, seed=1))[:few].save(tmp_path / "train")
        rising(windows(40, seed=2)).save(tmp_path / "val")
        given = [
            Artifact(n, str(tmp_path / f)) for n, f in (("model", "fleet.onnx"), ("train", "train"), ("val", "val"))
        ]
        made, told = Artifact("transferred", str(tmp_path / "made")), Artifact("metrics", str(tmp_path / "metrics"))
        transfer(*given, **{"modes": ["adapter"], "epochs": 5, "batch_size": 16, "seed": 0, **changes}, transferred=made, metrics=told)  # fmt: skip
        return made, told

    return run


def test_the_step(step: Callable[..., tuple[Artifact, Artifact]]) -> None:
    made, told = step()
    assert made.metadata["transfer"] == told.metadata["mode"] == "adapter"
    assert made.metadata["judged_apart"] is told.metadata["judged_apart"] is True
    assert made.metadata["validation_mase"] == pytest.approx(made.metadata["scores"]["adapter"], abs=1e-4)


def test_quantiles_are_those_of_the_region_and_of_the_fleet_where_its_model_stays(
    step: Callable[..., tuple[Artifact, Artifact]], fleet: Path, windows: Callable[..., Windows]
) -> None:
    fleet.write_bytes(conformal.calibrated(graph.load(fleet), windows(80)).SerializeToString())
    made, _ = step()
    found = graph.load(made.path)
    anew = conformal.calibrated(quantile_head.taken_off(found), rising(windows(40, seed=2)))
    assert found.SerializeToString() == anew.SerializeToString()
    assert graph.describe(found).quantiles
    made, _ = step(few=0)
    assert made.path.read_bytes() == fleet.read_bytes()


def test_without_data_it_is_the_fleets_model_and_says_so(
    step: Callable[..., tuple[Artifact, Artifact]], fleet: Path
) -> None:
    made, told = step(few=0)
    assert made.path.read_bytes() == graph.load(fleet).SerializeToString()
    assert told.metadata["reason"] == "there are no windows to train on: the fleet's model as it is"


def test_a_registry_without_a_fleets_model(tmp_path: Path) -> None:
    given = [Artifact(name, str(tmp_path / name)) for name in ("model", "train", "val", "transferred", "metrics")]
    given[0].metadata.update(absent=True, model_name="fleet-cpu")
    with pytest.raises(InvalidData, match="the registry has none named 'fleet-cpu'; train one first, or name another"):
        transfer(*given[:3], ["all"], 1, 1, 0, *given[3:])


@pytest.mark.parametrize("wrong", [{"modes": []}, {"modes": ["body"]}, {"epochs": 0}, {"batch_size": 0}])
def test_what_cannot_be(step: Callable[..., tuple[Artifact, Artifact]], wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter):
        step(**wrong)


def test_a_model_that_is_no_network(
    step: Callable[..., tuple[Artifact, Artifact]], fleet: Path, graph: Callable[..., Path]
) -> None:
    fleet.write_bytes(graph().read_bytes())
    with pytest.raises(InvalidGraph, match="to be trained further"):
        step()
