"""What was used over time: integrals of samples by the trapezoidal rule. None where the samples do not say."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fleetml.cost.scenarios import Scenario

JOULES_PER_WH = 3600.0
JOULES_PER_KWH = 3.6e6


def trapezoid(samples: Sequence[float], step: float | None) -> float | None:
    """Return the integral of samples that are `step` [s] apart: step x (sum - (first + last) / 2).

    Its error falls with the square of the step, a sum of rectangles' with the step. One sample spans no time: None.
    """
    if step is None or len(samples) < 2:
        return None
    return step * (math.fsum(samples) - (samples[0] + samples[-1]) / 2)


def joules(scenario: Scenario) -> float | None:
    """Return the energy [J]: of the power samples, else as measured elsewhere, by its sum or its mean."""
    if scenario.power_watts:
        return _integral(scenario, scenario.power_watts)
    if scenario.total_energy_wh is not None:
        return scenario.total_energy_wh * JOULES_PER_WH
    if scenario.mean_power_w is not None and scenario.duration is not None:
        return scenario.mean_power_w * scenario.duration
    return None


def core_seconds(scenario: Scenario) -> float | None:
    """Return the CPU time [core-seconds] of the samples."""
    return _integral(scenario, scenario.cpu_usage_cores)


def gpu_seconds(scenario: Scenario) -> float | None:
    """Return the GPU time [core-seconds]: 0 where none was sampled, None where its samples were refused."""
    if not scenario.gpu_usage_cores:
        return None if "gpu_usage_cores" in scenario.refused else 0.0
    return _integral(scenario, scenario.gpu_usage_cores)


def _integral(scenario: Scenario, samples: Sequence[float]) -> float | None:
    """Return the integral of samples over a scenario; None where they are of a part of it, which would pass for the whole."""
    return trapezoid(samples, scenario.step_seconds) if scenario.covers(samples) else None
