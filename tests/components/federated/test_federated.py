"""Federated rounds on Flower's own strategy and client apps, in one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from flwr.proto.control_pb2 import ListRunsRequest
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from components.federated import component
from components.federated.configuration import Federation
from components.federated.federated import federated
from components.federated.regions import by_region
from components.federated.transport import Bearer
from fleetml.component import Artifact
from fleetml.data import schema
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn import graph
from fleetml.learn.windows import Meta, Windows
from tests.components.federated.real import Real, until

INPUTS, OUTPUTS = ("train", "val", "data"), ("model", "metrics", "report")
META = Meta(context=48, horizon=6, season=24)


def windows(vms: int, rows: int = 200) -> Windows:
    """Sines of VMs at different levels, with a season of 24 steps."""
    rng = np.random.default_rng(0)
    level = np.repeat(np.arange(1, vms + 1) * 10.0, rows)
    phase = rng.uniform(0, 24, len(level))
    time = np.arange(META.context + META.horizon) + phase[:, None]
    values = (level[:, None] * (2 + np.sin(2 * np.pi * time / 24))).astype(np.float32)
    return Windows(
        vm_id=np.repeat([f"vm{i}" for i in range(vms)], rows),
        origin=np.arange(len(level)).astype("datetime64[us]"),
        history=values[:, : META.context],
        covariates=np.empty((len(level), 0), np.float32),
        target=values[:, META.context :],
        scale=level.astype(np.float32),
        meta=META,
    )


def canonical(folder: Path, regions: dict[str, str | None]) -> Path:
    rows = [
        {"vm_id": vm, "timestamp": datetime(2024, 1, 1, tzinfo=UTC), "region": region} for vm, region in regions.items()
    ]
    schema.write(schema.conform(pl.LazyFrame(rows, schema_overrides={"region": pl.String})), folder / "data")
    return folder / "data"


def test_regions_are_those_of_the_data(tmp_path: Path) -> None:
    data = canonical(tmp_path, {"vm0": "east", "vm1": "west", "vm2": "east"})
    found = by_region(windows(3), data, clients=9)
    assert {name: set(part.vm_id) for name, part in found.items()} == {"east": {"vm0", "vm2"}, "west": {"vm1"}}


def test_without_regions_the_vms_are_grouped_by_level(tmp_path: Path) -> None:
    data = canonical(tmp_path, {f"vm{i}": None for i in range(4)})
    found = by_region(windows(4), data, clients=2)
    assert {name: set(part.vm_id) for name, part in found.items()} == {
        "group-0": {"vm0", "vm1"},
        "group-1": {"vm2", "vm3"},
    }


def test_a_region_without_a_window_that_can_be_scored_is_none(tmp_path: Path) -> None:
    data = canonical(tmp_path, {"vm0": "east", "vm1": "west", "vm2": "idle"})
    found = windows(3)
    found.scale[found.vm_id == "vm2"] = 0
    assert set(by_region(found, data, clients=9)) == {"east", "west"}


def test_one_region_is_refused(tmp_path: Path) -> None:
    data = canonical(tmp_path, {"vm0": "east", "vm1": "east"})
    with pytest.raises(InvalidData, match="two regions"):
        by_region(windows(2), data, clients=2)


class Stage:
    def __init__(self, folder: Path) -> None:
        data = canonical(folder, {f"vm{i}": ("east", "west")[i % 2] for i in range(4)})
        names = ("train", "val", "model", "metrics", "report")
        self.artifacts = {name: Artifact(name, str(folder / name)) for name in names}
        self.artifacts["data"] = Artifact("data", str(data))
        for name in ("train", "val"):
            windows(4).save(self.artifacts[name].path)

    def run(self, **given: Any) -> None:
        federated(**self.artifacts, **given)


def test_rounds_learn_and_the_model_is_a_graph(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.run(rounds=1)
    after_one = stage.artifacts["metrics"].metadata["validation_mase"]
    stage.run(rounds=6)
    figures = stage.artifacts["metrics"].metadata
    assert figures["regions"] == 2
    assert figures["validation_mase"] < after_one
    model = graph.describe(graph.load(stage.artifacts["model"].path))
    assert (model.hyperparameters["rounds"], model.hyperparameters["regions"]) == (6, ["east", "west"])


def test_the_page_tells_each_regions_error_by_each_model(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.run(rounds=2, compare_own=True)
    page = stage.artifacts["report"].path.read_text()
    for told in ("the common model", "fitted to the region", "the region alone", "<td>east</td>", "<td>west</td>"):
        assert told in page
    figures = stage.artifacts["metrics"].metadata
    assert figures["own_mase_worst"] > 0
    assert figures["common_mase_spread"] >= 0
    assert figures["central_mase"] > 0


def test_more_clients_wanted_than_there_are_regions_is_refused_before_any_round(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="min_clients must be at most the number of regions, 2, got 3"):
        Stage(tmp_path).run(min_clients=3)


def test_a_finished_run_leaves_no_checkpoint(tmp_path: Path) -> None:
    Stage(tmp_path).run(rounds=1, checkpoint_dir=str(tmp_path / "kept"))
    assert list((tmp_path / "kept").iterdir()) == []


def test_the_edge_offers_every_choice_with_its_default() -> None:
    known = {name: it.default for name, it in component.federated.component_spec.inputs.items()}
    assert {it.name: it.default for it in fields(Federation)}.items() <= known.items()


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    scores = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        stage = Stage(tmp_path / name)
        stage.run(rounds=2, seed=5)
        scores.append(stage.artifacts["metrics"].metadata["validation_mase"])
    assert scores[0] == scores[1]


@pytest.mark.parametrize("given", [{"rounds": 0}, {"local_epochs": 0}, {"clients": -1}])
def test_a_count_below_one_is_refused(tmp_path: Path, given: dict[str, int]) -> None:
    with pytest.raises(InvalidParameter, match="at least 1"):
        Stage(tmp_path).run(**given)


def test_a_step_that_is_stopped_ends_its_run_on_the_link(tmp_path: Path) -> None:
    for name in ("train", "val"):
        windows(1).save(tmp_path / name)
    canonical(tmp_path, {"vm0": None})
    real = Real(tmp_path, ())
    try:
        stage = _driven(real, real.start_link())
        until(lambda: "0 of 2 regions are there" in real.log("stage"), "it waits for regions")
        stage.send_signal(signal.SIGTERM)
        assert stage.wait() == 128 + signal.SIGTERM
        assert _runs(real) == ["finished"]
    finally:
        real.end()


class Interrupted:
    """A link's grid that is told to end in its rounds, and once more while it ends its run."""

    closed = False

    def __enter__(self) -> Interrupted:
        return self

    def __exit__(self, *raised: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        self.closed = True

    def get_node_ids(self) -> list[int]:
        os.kill(os.getpid(), signal.SIGTERM)
        return []


def test_a_step_that_is_stopped_twice_still_ends_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, before = Interrupted(), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("components.federated.superlink.SuperLinkGrid.of_environment", lambda link: grid)
    with pytest.raises(SystemExit) as ended:
        Stage(tmp_path).run(superlink="127.0.0.1:1")
    assert (ended.value.code, grid.closed) == (128 + signal.SIGTERM, True)
    assert signal.getsignal(signal.SIGTERM) == before


def _driven(real: Real, link: str) -> subprocess.Popen[bytes]:
    """Start the stage as a step of every engine starts."""
    places = {name: {"artifacts": [{"name": name, "uri": str(real.folder / name)}]} for name in INPUTS + OUTPUTS}
    task = {
        "inputs": {"parameterValues": {"superlink": link}, "artifacts": {name: places[name] for name in INPUTS}},
        "outputs": {
            "artifacts": {name: places[name] for name in OUTPUTS},
            "outputFile": str(real.folder / "executor_output.json"),
        },
    }
    secrets = {"DRIVER": "driver.secret", "AUTHORITY": "authority.pem"}
    given = [f"FLEETML_FEDERATION_{name}={(real.folder / 'link' / file).read_text()}" for name, file in secrets.items()]
    command = ["-m", "fleetml.component", "components.federated.federated:federated", json.dumps(task)]
    return real.start("stage", command, prefix=["env", *given])


def _runs(real: Real) -> list[str]:
    """Return the states of all runs of a link."""
    shown = [
        RuntimeVersionHttpInterceptor(component_name="fleetml"),
        Bearer((real.folder / "link/driver.secret").read_text().strip()),
    ]
    authority = (real.folder / "link/authority.pem").read_bytes()
    with ControlHttpClient.from_server_address(real.address, False, authority, interceptors=shown) as control:
        return [run.status.status for run in control.ListRuns(ListRunsRequest()).run_dict.values()]
