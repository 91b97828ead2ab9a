"""The metrics of a scenario: names, labels and units as the dashboards of existing users query them.

`cost`, `qoe` and `results` return metric -> value, with those alone that can be computed; `COST`, `QOE` and `RESULTS` say what
each is. Energy [J] is the trapezoid over the power samples; month: 720 hours.
"""

from __future__ import annotations

import math
from statistics import stdev

from fleetml.cost import scores
from fleetml.cost.integrals import JOULES_PER_KWH, JOULES_PER_WH, core_seconds, gpu_seconds, joules
from fleetml.cost.scenarios import Scenario
from fleetml.errors import ConfigurationError
from fleetml.frozen import frozen

HOURS_PER_MONTH = 720.0
_SECONDS_PER_HOUR = 3600.0

COST = {
    "cost_total_load_aware": "Energy and compute cost of the scenario [{currency}]",
    "cost_energy_load_aware": "Energy cost of the scenario, by its power samples [{currency}]",
    "cost_compute_load_aware": "Compute cost of the scenario, by its CPU and GPU samples [{currency}]",
    "cost_per_pixel": "Total cost of a delivered pixel [{currency}/pixel]",
    "cost_per_watch_hour": "Total cost of an hour that one viewer watches [{currency}/viewer-hour]",
    "cost_usd_per_hour": "Energy cost of an hour at the mean power [{currency}/h]",
    "cost_monthly_projection": "Energy cost of 30 days at the mean power [{currency}/30 days]",
    "cost_monthly_savings": "Projection of the baseline less that of the scenario [{currency}/30 days]",
    "co2_emissions_kg_per_hour": "CO2e of an hour at the mean power [kg/h]",
    "co2_monthly_projection": "CO2e of 30 days at the mean power [kg/30 days]",
    "co2_monthly_avoided": "Projection of the baseline less that of the scenario [kg/30 days]",
}
QOE = {
    "qoe_vmaf_score": "VMAF, 0 to 100",
    "qoe_psnr_score": "PSNR [dB]",
    "qoe_ssim_score": "SSIM, 0 to 1",
    "qoe_quality_per_watt": "VMAF per watt [VMAF/W]",
    "qoe_efficiency_score": "Quality-weighted pixels per joule [pixels/J]",
    "qoe_drop_rate": "Dropped frames of all frames, 0 to 1",
}
RESULTS = {
    "duration_seconds": "Duration [s]",
    "mean_power_watts": "Mean power [W]",
    "measured_power_watts": "Mean of the power samples [W]",
    "power_stdev": "Standard deviation of the power samples [W]",
    "total_energy_joules": "Energy [J]",
    "total_energy_wh": "Energy [Wh]",
    "energy_wh_per_min": "Energy a minute [Wh/min]",
    "energy_wh_per_mbps": "Energy by the bitrate of a stream [Wh/Mbps]",
    "energy_mj_per_frame": "Energy of a frame of the first output [mJ]",
    "container_cpu_percent": "Mean CPU, 100 is one core [%]",
    "net_power_watts": "Mean power above the idle machine's [W]",
    "net_energy_wh": "Energy above what the idle machine uses in the same time [Wh]",
    "net_container_cpu_percent": "Mean CPU above the idle machine's [%]",
    "delta_power_watts": "Mean power above the idle machine's [W]",
    "delta_energy_wh": "Energy above what the idle machine uses in the same time [Wh]",
    "power_pct_increase": "Mean power above the idle machine's [% of that]",
    "total_pixels": "Pixels delivered by all outputs of a stream",
    "efficiency_score": "Efficiency by the automatic rule [Mbps/W, pixels/J or quality-weighted pixels/J]",
    "predicted_power_watts": "Predicted mean power [W]",
    "predicted_energy_joules": "Predicted energy [J]",
    "predicted_efficiency_score": "Efficiency by the automatic rule at the predicted power",
    "prediction_confidence_low": "Lower end of the interval of the predicted power [W]",
    "prediction_confidence_high": "Upper end of the interval of the predicted power [W]",
    "avg_fps": "Mean frames a second",
    "dropped_frames": "Dropped frames",
    "total_frames": "Frames",
    "vmaf_score": "VMAF, 0 to 100",
    "psnr_score": "PSNR [dB]",
}


@frozen
class Prices:
    """What energy and cores cost, in one currency, and what energy emits.

    per_kwh [currency/kWh]; below 0 is a price too. per_core_hour, per_gpu_hour [currency/core-hour]; None: a GPU core costs as a CPU
    core does. grams_per_kwh [g CO2e/kWh]. Raises ConfigurationError for what is none.
    """

    per_kwh: float
    per_core_hour: float = 0.0
    currency: str = "USD"
    grams_per_kwh: float = 400.0
    per_gpu_hour: float | None = None

    def __post_init__(self) -> None:
        _require("per_kwh", self.per_kwh, math.isfinite(self.per_kwh), "a number")
        for name in ("per_core_hour", "grams_per_kwh", "per_gpu_hour"):
            value = getattr(self, name)
            _require(name, value, value is None or 0 <= value < math.inf, "a number from 0 up")
        right = (
            len(self.currency) == 3 and self.currency.isascii() and self.currency.isalpha() and self.currency.isupper()
        )
        _require("currency", self.currency, right, "a code of three letters such as USD")


@frozen
class Predicted:
    """The power that a model expects [W], and the ends of its interval."""

    watts: float
    low: float | None = None
    high: float | None = None


def cost(scenario: Scenario, baseline: Scenario | None, prices: Prices) -> dict[str, float]:
    """Return the metrics of `COST`; savings and avoided CO2 need a baseline whose power is known."""
    return _known(_sums(scenario, prices) | _hourly(scenario, baseline, prices))


def qoe(scenario: Scenario) -> dict[str, float]:
    """Return the metrics of `QOE`."""
    drawn = scores.measured(scenario)
    return _known(
        {
            "qoe_vmaf_score": scenario.vmaf_score,
            "qoe_psnr_score": scenario.psnr_score,
            "qoe_ssim_score": scenario.ssim_score,
            "qoe_quality_per_watt": scores.quality_per_watt(scenario, drawn),
            "qoe_efficiency_score": scores.qoe_efficiency(scenario, drawn),
            "qoe_drop_rate": _over(scenario.dropped_frames, scenario.total_frames),
        }
    )


def results(scenario: Scenario, baseline: Scenario | None, predicted: Predicted | None = None) -> dict[str, float]:
    """Return the metrics of `RESULTS`; what is above the idle machine needs a baseline, and is not said of it."""
    watts, energy = scenario.mean_watts, joules(scenario)
    wh = None if energy is None else energy / JOULES_PER_WH
    return _known(
        {
            "duration_seconds": scenario.duration,
            "mean_power_watts": watts,
            "measured_power_watts": watts if scenario.power_watts else None,
            "power_stdev": stdev(scenario.power_watts) if len(scenario.power_watts) > 1 else None,
            "total_energy_joules": energy,
            "total_energy_wh": wh,
            "energy_wh_per_min": _over(_times(wh, 60.0), scenario.duration),
            "energy_wh_per_mbps": _over(wh, scenario.mbps),
            "energy_mj_per_frame": _over(_times(energy, 1000.0), _times(scenario.fps, scenario.duration)),
            "container_cpu_percent": _cpu_percent(scenario),
            "total_pixels": scenario.pixels,
            "efficiency_score": scores.score(scenario),
            "avg_fps": scenario.avg_fps,
            "dropped_frames": scenario.dropped_frames,
            "total_frames": scenario.total_frames,
            "vmaf_score": scenario.vmaf_score,
            "psnr_score": scenario.psnr_score,
        }
        | _above(scenario, baseline)
        | _foreseen(scenario, predicted)
    )


def cost_labels(scenario: Scenario, currency: str, service: str = "cost-analysis") -> dict[str, str] | None:
    """Return the labels of `COST`, None for a scenario without bitrate, which is left out."""
    if scenario.bitrate is None:
        return None
    return {
        "scenario": label(scenario.name),
        "streams": str(scenario.stream_count),
        "bitrate": scenario.bitrate,
        "encoder": scenario.encoder or scenario.encoder_type or "unknown",
        "currency": currency,
        "service": service,
    }


def results_labels(scenario: Scenario, run_id: str) -> dict[str, str]:
    """Return the labels of `RESULTS`; "" and "unknown" stand for what is not known."""
    return {
        "run_id": run_id,
        "scenario": scenario.name,
        "bitrate": scenario.bitrate or "",
        "resolution": scenario.resolution or "",
        "fps": "" if scenario.fps is None else f"{scenario.fps:g}",
        "streams": str(scenario.stream_count),
        "output_ladder": scenario.ladder or "unknown",
        "encoder_type": scenario.encoder_type or "unknown",
    }


def label(name: str) -> str:
    """Return a scenario's name as the label of `COST` and `QOE`: a space is ``_``; that of `RESULTS` is the name."""
    return name.replace(" ", "_")


def _sums(scenario: Scenario, prices: Prices) -> dict[str, float | None]:
    energy = _times(joules(scenario), prices.per_kwh / JOULES_PER_KWH)
    compute = _compute(scenario, prices)
    total = None if energy is None or compute is None else energy + compute
    watched = _times(scenario.viewers, _over(scenario.duration, _SECONDS_PER_HOUR))
    return {
        "cost_total_load_aware": total,
        "cost_energy_load_aware": energy,
        "cost_compute_load_aware": compute,
        "cost_per_pixel": _over(total, scenario.pixels),
        "cost_per_watch_hour": _over(total, watched),
    }


def _compute(scenario: Scenario, prices: Prices) -> float | None:
    cpu, gpu = core_seconds(scenario), gpu_seconds(scenario)
    if cpu is None or gpu is None:
        return None
    per_gpu_hour = prices.per_core_hour if prices.per_gpu_hour is None else prices.per_gpu_hour
    return (cpu * prices.per_core_hour + gpu * per_gpu_hour) / _SECONDS_PER_HOUR


def _hourly(scenario: Scenario, baseline: Scenario | None, prices: Prices) -> dict[str, float | None]:
    kilowatts, idle = _over(scenario.mean_watts, 1000.0), _over(baseline.mean_watts if baseline else None, 1000.0)
    kilograms = prices.grams_per_kwh / 1000
    spared = None if kilowatts is None or idle is None else (idle - kilowatts) * HOURS_PER_MONTH
    return {
        "cost_usd_per_hour": _times(kilowatts, prices.per_kwh),
        "cost_monthly_projection": _times(kilowatts, prices.per_kwh * HOURS_PER_MONTH),
        "cost_monthly_savings": _times(spared, prices.per_kwh),
        "co2_emissions_kg_per_hour": _times(kilowatts, kilograms),
        "co2_monthly_projection": _times(kilowatts, kilograms * HOURS_PER_MONTH),
        "co2_monthly_avoided": _times(spared, kilograms),
    }


def _above(scenario: Scenario, baseline: Scenario | None) -> dict[str, float | None]:
    """Return what is above the idle machine, which is taken to idle as long as the scenario lasts."""
    if baseline is None or baseline.name == scenario.name or baseline.mean_watts is None:
        return {}
    idle = baseline.mean_watts
    watts = _less(scenario.mean_watts, idle)
    energy, kept = joules(scenario), _times(scenario.duration, idle)
    wh = _over(_less(energy, kept), JOULES_PER_WH)
    return {
        "net_power_watts": watts,
        "net_energy_wh": wh,
        "net_container_cpu_percent": _less(_cpu_percent(scenario), _cpu_percent(baseline)),
        "delta_power_watts": watts,
        "delta_energy_wh": wh,
        "power_pct_increase": _over(_times(watts, 100.0), idle),
    }


def _foreseen(scenario: Scenario, predicted: Predicted | None) -> dict[str, float | None]:
    if predicted is None:
        return {}
    energy = _times(scenario.duration, predicted.watts)
    return {
        "predicted_power_watts": predicted.watts,
        "predicted_energy_joules": energy,
        "predicted_efficiency_score": scores.score(scenario, drawn=scores.Drawn(predicted.watts, energy)),
        "prediction_confidence_low": predicted.low,
        "prediction_confidence_high": predicted.high,
    }


def _cpu_percent(scenario: Scenario) -> float | None:
    cores = scenario.cpu_usage_cores
    return 100 * math.fsum(cores) / len(cores) if cores else None


def _known(metrics: dict[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if value is not None}


def _times(value: float | None, factor: float | None) -> float | None:
    return None if value is None or factor is None else value * factor


def _over(value: float | None, divisor: float | None) -> float | None:
    return None if value is None or not divisor else value / divisor


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _require(name: str, value: object, right: bool, rule: str) -> None:
    if not right:
        raise ConfigurationError(f"{name} is {rule}, got {value!r}; mend it")
