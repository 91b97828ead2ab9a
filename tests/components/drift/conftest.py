"""A serving folder with one deployed version, its traffic, and the monitor's steps on it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.deploy.deploy import write_reference
from components.drift.collect import collect
from components.drift.drift import drift
from components.drift.quality import quality
from fleetml.component import Artifact
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.windows import Windows
from fleetml.serving import deployment, features, predictions
from fleetml.serving.deployment import Card


class Monitor:
    """The monitor's steps on the model `bandwidth`, of which version 3 is served."""

    def __init__(self, folder: Path, graph: Path, trained: Windows) -> None:
        self.folder, self.root = folder, folder / "serving"
        self.made: dict[str, Artifact] = {}
        self._forecaster = Forecaster(graph)
        version = deployment.install(
            self.root, Card("bandwidth", "3", deployment.digest(graph)), {deployment.GRAPH: graph}
        )
        deployment.point(self.root, "bandwidth", "3")
        write_reference(trained, self._forecaster, version / deployment.REFERENCE)

    def log(
        self,
        asked: Windows,
        version: str = "3",
        hours_ago: float = 1.0,
        covariates: bool = True,
        add: float = 0.0,
        role: str = "champion",
    ) -> None:
        """Write what a server would have logged for these requests; `add` is how wrong its forecasts are."""
        when = datetime.now(UTC) - timedelta(hours=hours_ago)
        known = asked.covariates if covariates else np.full_like(asked.covariates, np.nan)
        figures = features.values(asked.history, known)
        names = features.columns(asked.meta.covariates)
        count = len(asked)
        columns = {
            "time": [when] * count,
            "origin": [when.replace(minute=0, second=0, microsecond=0)] * count,
            "vm_id": asked.vm_id.tolist(),
            "model_version": [version] * count,
            "role": [role] * count,
            "rollout": [""] * count,
            "horizon": [asked.meta.horizon] * count,
            "step_seconds": [asked.meta.step_seconds] * count,
            "latency_ms": [1.0] * count,
            "failure": [""] * count,
            **dict(zip(names, figures.T, strict=True)),
            "predictions": (self._forecaster.forecast(asked) + add).tolist(),
        }
        table = pa.table(columns, schema=predictions.schema(names))
        place = self.root / "predictions" / "model=bandwidth" / f"date={when.date()}"
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, place / f"{version}-{len(list(place.iterdir()))}.parquet")

    def artifact(self, name: str) -> Artifact:
        self.made[name] = Artifact(name, str(self.folder / name))
        return self.made[name]

    def collect(self, **parameters: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
        given = {"serving_dir": str(self.root), "model_name": "bandwidth", "since_hours": 24.0, **parameters}
        collect(self.artifact("current"), self.artifact("reference"), self.artifact("metrics"), **given)
        return pd.read_parquet(self.folder / "current"), pd.read_parquet(self.folder / "reference")

    def quality(self, **parameters: Any) -> float:
        given = {"serving_dir": str(self.root), "model_name": "bandwidth", "days": 7, "min_forecasts": 10, **parameters}
        return float(quality(self.artifact("judged"), self.artifact("quality metrics"), **given)["accuracy"])

    def drift(self, **parameters: Any) -> dict[str, Any]:
        self.collect()
        self.quality()
        given = {"threshold": 0.3, "column_threshold": 0.1, "min_rows": 100, **parameters}
        tables = self.made["current"], self.made["reference"], self.made["judged"]
        return drift(*tables, self.artifact("report"), self.artifact("metrics"), **given)


@pytest.fixture
def monitor(tmp_path: Path, graph: Callable[..., Path], windows: Callable[..., Windows]) -> Monitor:
    return Monitor(tmp_path, graph(), windows(1000))
