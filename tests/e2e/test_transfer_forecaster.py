"""transfer_forecaster on this machine: the fleet's network of the registry becomes a region's, registered beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleetml.cli import main
from fleetml.records import Run, runs

ROOT = Path(__file__).parents[2]
SMALL = {
    "source": "synthetic://?vms=4&days=4",
    "window_days": 4,
    "window_end": "2026-01-05",
    "context": 48,
    "horizon": 12,
    "max_windows": 100,
    "epochs": 1,
    "modes": json.dumps(["adapter"]),
    "latency_budget_ms": 1000.0,
    "fleet_model": "fleet",
    "model_name": "west",
}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not (ROOT / ".venv/ml/bin/python").exists(), reason="no .venv/ml: make setup"),
]


def transferred(**places: str) -> int:
    given = [text for name, value in {**SMALL, **places}.items() for text in ("-p", f"{name}={value}")]
    return main(["run", str(ROOT / "dags" / "transfer_forecaster"), *given])


def publish(folder: Path, registry: str) -> None:
    """Register the first weights of a network as the fleet's model."""
    import torch

    from feature_repo.definitions import REFERENCES, SERVICE
    from fleetml.learn import export, network_training
    from fleetml.learn.architectures import architecture
    from fleetml.learn.neural import Network
    from fleetml.learn.windows import Meta
    from fleetml.serving.aliases import CHAMPION
    from fleetml.serving.registry import Entry, Registry

    torch.manual_seed(0)
    meta = Meta(context=48, horizon=12, covariates=tuple(REFERENCES), feature_service=SERVICE)
    shape = network_training.complete("mlp", {"width": 32})
    graph = folder / "fleet.onnx"
    graph.write_bytes(export.from_torch(Network(meta, architecture("mlp", shape)), meta, shape).SerializeToString())
    Registry(registry).add("fleet", Entry(graph, "fleet", {}, {}, {}, {}), CHAMPION)


def test_a_regions_model_is_made_of_the_fleets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fleetml.serving.registry import Registry

    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))
    registry = f"sqlite:///{tmp_path}/mlflow.db"
    publish(tmp_path, registry)
    assert transferred(registry=registry, checkpoint_dir=str(tmp_path / "checkpoints")) == 0
    (run,) = runs(tmp_path / "home")
    steps = Run(tmp_path / "home", run["run_id"]).latest()
    made: dict[str, Any] = steps["transfer"].outcome["artifacts"]["transferred"][0]["metadata"]  # type: ignore[index]
    assert made["fleet_version"] == "1"
    assert {"none", "adapter"} == set(made["scores"])
    assert set(steps) >= {"train-network", "evaluate-transferred", "gate-transferred"}
    assert list((tmp_path / "checkpoints").iterdir()) == []  # it was finished
    assert Registry(registry).champion("west") == "1"
    assert Registry(registry).champion("fleet") == "1"
