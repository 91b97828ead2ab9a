"""The project's own stack for the tests of this folder: Airflow, MLflow, the model server and the controller, all real."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetml.pipeline import Plan, load
from fleetml.records import Attempt
from fleetml.settings import Settings
from fleetml.stack.airflow_client import AirflowClient
from fleetml.stack.runs import AirflowRun

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Fleet:
    """The running stack of this checkout, at home in a folder of its own."""

    variables: Mapping[str, str]
    settings: Settings
    client: AirflowClient
    start: Callable[[str, Mapping[str, Any]], AirflowRun]

    def run(self, pipeline: str, **parameters: Any) -> dict[str, Attempt]:
        """Run one of this project's pipelines in Airflow to its end; return the last attempt of each step."""
        going = self.start(pipeline, parameters)
        for _ in going.follow():
            pass
        return going.records.latest()


def ir(pipeline: str) -> Path:
    return ROOT / "dags" / pipeline / "pipeline.yaml"


def plan_of(pipeline: str) -> Plan:
    return load(ir(pipeline))
