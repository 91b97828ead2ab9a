"""What the demonstration plays, and how long it waits for what is due."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

TRAINING: Mapping[str, Any] = {
    "window_days": 8,
    "horizon": 12,
    "context": 144,
    "max_windows": 3000,
    "automl_seconds": 40,
    "nas_seconds": 20,
    "hpo_seconds": 15,
    "latency_budget_ms": 20.0,  # the machine may be busy
}


@dataclass(frozen=True)
class Script:
    """`vms` VMs, `before` days of training data, `days` of traffic at most, asked about each `stride` of the fleet's time.

    A stride takes `seconds`, so an hour of the fleet's time one second. monitor looks at `look_hours` of the fleet's time; the
    truth comes every `truth_seconds`. `training` are parameters of train_forecaster, `patience` the seconds within which each
    phase is to happen.
    """

    target: str = "bandwidth"
    vms: int = 40
    before: int = 8
    days: int = 60
    seed: int = 7
    stride: timedelta = timedelta(minutes=30)
    seconds: float = 0.5
    look_hours: float = 24.0
    truth_seconds: float = 10.0
    training: Mapping[str, Any] = field(default_factory=lambda: TRAINING)
    patience: float = 1200.0
