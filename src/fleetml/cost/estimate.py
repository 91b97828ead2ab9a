"""What a step costs, estimated from what the kernel says it used: energy, money, CO2.

A figure of `Rates` is overridden by the environment variable FLEETML_COST_<FIGURE> (``FLEETML_COST_GRAMS_PER_KWH=34``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleetml.errors import ConfigurationError
from fleetml.frozen import asdict, fields, frozen

_JOULES_PER_KWH = 3.6e6


@frozen
class Rates:
    """Constants of the estimate; every one is an average of cloud machines, not of this machine.

    watts_per_vcpu: power of one busy vCPU [W]; Cloud Carbon Footprint, AWS coefficients, average maximum 3.5.
        Only busy time counts: idle power belongs to whoever keeps the machine on.
    watts_per_gb: power of memory [W/GB]; Cloud Carbon Footprint, memory coefficient 0.000392 kWh per GB and hour.
    pue: power usage effectiveness of the data centre [1]; Cloud Carbon Footprint, AWS, 1.135.
    usd_per_core_hour: price of one vCPU [USD/h]; AWS m5 on demand, us-east-1: 0.096 USD/h for two.
    usd_per_kwh: price of energy [USD/kWh]; default of the project's cost catalogue (notes on cost) 0.12. A cloud
        includes it in its price: set it to 0 there.
    grams_per_kwh: carbon intensity of the grid [g CO2e/kWh]; default of the same catalogue, 400.
    """

    watts_per_vcpu: float = 3.5
    watts_per_gb: float = 0.392
    pue: float = 1.135
    usd_per_core_hour: float = 0.048
    usd_per_kwh: float = 0.12
    grams_per_kwh: float = 400.0

    @classmethod
    def of(cls, figures: Mapping[str, float]) -> Rates:
        """Return the rates with some figures replaced. Raises ConfigurationError for an unknown or negative one."""
        known = [field.name for field in fields(cls)]
        for name, value in figures.items():
            if name not in known or not 0 <= value < float("inf"):
                raise ConfigurationError(
                    f"rates are numbers from 0 up named {', '.join(known)}, got FLEETML_COST_{name.upper()}={value}; "
                    "mend or unset it"
                )
        return cls(**figures)


@frozen
class Cost:
    """What was used [s, s, bytes] and what that costs [kWh, USD, g CO2e]."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    max_rss_bytes: int = 0
    kwh: float = 0.0
    usd: float = 0.0
    co2_grams: float = 0.0


def estimate(cpu_seconds: float, wall_seconds: float, max_rss_bytes: int, rates: Rates) -> Cost:
    """Return the cost of one process tree.

    Energy = PUE x (CPU seconds x W per vCPU + wall seconds x peak RSS [GB] x W per GB) / 3.6e6; the peak stands for
    the whole time, so memory is an upper bound. Money = core-hours x price + energy x price. CO2 = energy x intensity.
    """
    joules = cpu_seconds * rates.watts_per_vcpu + wall_seconds * max_rss_bytes / 1e9 * rates.watts_per_gb
    kwh = rates.pue * joules / _JOULES_PER_KWH
    usd = cpu_seconds / 3600 * rates.usd_per_core_hour + kwh * rates.usd_per_kwh
    return Cost(cpu_seconds, wall_seconds, max_rss_bytes, kwh, usd, kwh * rates.grams_per_kwh)


def total(costs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the sum of recorded costs; of memory the highest peak."""
    found = list(costs)
    summed: dict[str, float] = {}
    for name, empty in asdict(Cost()).items():
        values = [cost.get(name, 0) for cost in found]
        summed[name] = max(values, default=empty) if name == "max_rss_bytes" else sum(values, start=empty)
    return summed
