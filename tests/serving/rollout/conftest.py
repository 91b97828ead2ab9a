"""A serving folder with three versions of a model, and traffic whose truth is known."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fleetml.serving import deployment, truth
from fleetml.serving.deployment import PREDICTIONS, Card
from fleetml.serving.routing import place

STEP = timedelta(minutes=5)


@pytest.fixture
def root(tmp_path: Path, graph: Callable[..., Path]) -> Path:
    """Version 2 is served, 1 was before it, 3 is installed."""
    folder = tmp_path / "serving"
    for version in ("1", "2", "3"):
        made = graph(add=float(version), name=f"{version}.onnx")
        deployment.install(folder, Card("bandwidth", version, deployment.digest(made)), {deployment.GRAPH: made})
    for version in ("1", "2"):
        deployment.point(folder, "bandwidth", version)
    return folder


class Traffic:
    """Questions of `vms` VMs, one a step, answered by whoever has to by ``deployment.json``; all truth is 100."""

    def __init__(self, root: Path, vms: int = 30) -> None:
        self.root = root
        self.vms = [f"vm-{number}" for number in range(vms)]
        self.origin = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self._random = np.random.default_rng(0)
        self._parts = 0

    def flow(self, steps: int, served: float, second: float, failure: str = "") -> None:
        """Log `steps` questions of each VM and their truth; versions err by about `served` and `second`."""
        rows = [row for _ in range(steps) for row in self._step(served, second, failure)]
        log = pl.DataFrame(rows, schema=truth.LOG, orient="row")
        folder = self.root / PREDICTIONS / "model=bandwidth" / f"date={datetime.now(UTC).date()}"
        folder.mkdir(parents=True, exist_ok=True)
        self._parts += 1
        log.write_parquet(folder / f"{self._parts}.parquet")

    def _step(self, served: float, second: float, failure: str) -> list[tuple[object, ...]]:
        now, rollout = datetime.now(UTC), deployment.read(self.root)["bandwidth"].rollout
        assert rollout is not None
        found: list[tuple[object, ...]] = []
        for vm in self.vms:
            chosen = place(rollout.id, vm) < rollout.share
            first = ("2", served, "champion", "")
            other = (rollout.version, second, "challenger", failure)
            shadow = (*first[:2], "shadow", "")
            asked = [first]
            if chosen and rollout.mode == "shadow":
                asked = [first, (*other[:2], "shadow", failure)]
            elif chosen:
                asked = [other, first if failure else shadow]
            for version, error, role, failed in asked:
                made = [] if failed else [100 + error * self._random.uniform(0.8, 1.2)]
                found.append((now, self.origin, vm, version, role, rollout.id, 300, 1.0, failed, made))
        self.origin += STEP
        known = pl.DataFrame([(vm, self.origin, 100.0) for vm in self.vms], schema=truth.SCHEMA, orient="row")
        truth.write(self.root, "bandwidth", known)
        return found


@pytest.fixture
def traffic(root: Path) -> Traffic:
    return Traffic(root)
