"""What a step costs, of what the kernel says it used and meters say it drew: energy, money, CO2.

A figure of `Rates` is overridden by the environment variable FLEETML_COST_<FIGURE> (``FLEETML_COST_GRAMS_PER_KWH=34``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from fleetml.errors import ConfigurationError
from fleetml.frozen import asdict, fields, frozen

_JOULES_PER_KWH = 3.6e6
_DOLLARS = {"usd_per_core_hour": "price_per_core_hour", "usd_per_kwh": "price_per_kwh"}
_SIGNED = "price_per_kwh"  # where there is too much energy, whoever takes some is paid


@frozen
class Rates:
    """Constants of the estimate; every one is an average of cloud machines, not of this machine.

    watts_per_vcpu: power of one busy vCPU [W]; Cloud Carbon Footprint, AWS coefficients, average maximum 3.5.
    idle_watts_per_vcpu: power of an idle one [W], shared by who keeps the machine busy; 0: it belongs to whoever keeps the
        machine on. FLEETML_COST_INSTANCE sets both (`fleetml.cost.instances`).
    watts_per_gb: power of memory [W/GB]; Cloud Carbon Footprint, memory coefficient 0.000392 kWh per GB and hour.
    pue: power usage effectiveness of the data centre [1]; Cloud Carbon Footprint, AWS, 1.135.
    price_per_core_hour: price of one vCPU [currency/h]; AWS m5 on demand, us-east-1: 0.096 USD/h for two.
    price_per_gpu_hour: price of one busy GPU beside its machine's vCPUs [currency/h]; AWS g4dn.xlarge, us-east-1: 0.526 USD/h
        with four.
    price_per_kwh: price of energy [currency/kWh]; None: the tariff's. A cloud includes it in its price: set it to 0 there.
    grams_per_kwh: carbon intensity of the grid [g CO2e/kWh]; None: the tariff's.
    """

    watts_per_vcpu: float = 3.5
    idle_watts_per_vcpu: float = 0.0
    watts_per_gb: float = 0.392
    pue: float = 1.135
    price_per_core_hour: float = 0.048
    price_per_gpu_hour: float = 0.334
    price_per_kwh: float | None = None
    grams_per_kwh: float | None = None

    @classmethod
    def of(cls, figures: Mapping[str, float], currency: str = "USD") -> Rates:
        """Return the rates with some figures replaced; ``usd_per_…`` is ``price_per_…`` in US dollars.

        Raises ConfigurationError for an unknown one, one below 0 (but the price of energy), and for prices of another currency that
        are not given.
        """
        known = [field.name for field in fields(cls)]
        taken: dict[str, float] = {}
        for name, value in figures.items():
            meant = _DOLLARS.get(name, name) if currency == "USD" else name
            least = -math.inf if meant == _SIGNED else 0.0
            if meant not in known or not (least <= value and math.isfinite(value)):
                raise ConfigurationError(
                    f"rates are numbers from 0 up ({_SIGNED}: below it, too) named {', '.join(known)}, got FLEETML_COST_{name.upper()}={value}; "
                    "mend or unset it"
                )
            taken[meant] = value
        if currency != "USD" and (lacking := {"price_per_core_hour", "price_per_gpu_hour"} - set(taken)):
            raise ConfigurationError(
                f"the default of {min(lacking)} is in USD, FLEETML_COST_CURRENCY is {currency}; "
                f"set FLEETML_COST_{min(lacking).upper()} to a price in {currency} (0 on a machine of your own)"
            )
        return cls(**taken)


@frozen
class Tariff:
    """Price [currency/kWh] and carbon intensity [g CO2e/kWh] where and when a step ran, None where nobody knows.

    `price_source` and `intensity_source` say who says so: settings, a file's name, an API's, table.
    """

    region: str = "default"
    currency: str = "USD"
    price: float | None = 0.12
    intensity: float | None = 400.0
    price_source: str = "table"
    intensity_source: str = "table"


class Used(Protocol):
    """What a process tree used, as `fleetml.runners.Usage` says."""

    @property
    def cpu_seconds(self) -> float: ...
    @property
    def wall_seconds(self) -> float: ...
    @property
    def max_rss_bytes(self) -> int: ...
    @property
    def machine_cpu_seconds(self) -> float | None: ...
    @property
    def vcpus(self) -> int: ...
    @property
    def joules(self) -> float | None: ...
    @property
    def gpu_seconds(self) -> float: ...
    @property
    def gpu_joules(self) -> float: ...


@frozen
class Cost:
    """What was used [s, s, bytes, s] and what that costs: kWh (of GPUs: a part of it), money, g CO2e.

    money, co2_grams: None where no price or intensity is known. `source` says how the energy came about: ``rapl``, ``model``,
    each with ``+nvml`` where GPUs were measured. Of nothing that was used, no currency, region or source is known.
    """

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    max_rss_bytes: int = 0
    gpu_seconds: float = 0.0
    kwh: float = 0.0
    gpu_kwh: float = 0.0
    money: float | None = 0.0
    co2_grams: float | None = 0.0
    currency: str = ""
    region: str = ""
    source: str = ""
    price_source: str = ""
    intensity_source: str = ""


def estimate(used: Used, rates: Rates, tariff: Tariff) -> Cost:
    """Return the cost of one process tree.

    Energy = PUE x (CPU + wall seconds x peak RSS [GB] x W per GB + GPU) / 3.6e6; the peak stands for the whole time, so memory
    is an upper bound. CPU is what RAPL measured, else the power model's. Money = core-hours and GPU-hours x their prices +
    energy x price. CO2 = energy x intensity.
    """
    memory = used.wall_seconds * used.max_rss_bytes / 1e9 * rates.watts_per_gb
    cpu = modelled(used, rates) if used.joules is None else used.joules
    kwh = rates.pue * (cpu + memory + used.gpu_joules) / _JOULES_PER_KWH
    time = used.cpu_seconds * rates.price_per_core_hour + used.gpu_seconds * rates.price_per_gpu_hour
    return Cost(
        cpu_seconds=used.cpu_seconds,
        wall_seconds=used.wall_seconds,
        max_rss_bytes=used.max_rss_bytes,
        gpu_seconds=used.gpu_seconds,
        kwh=kwh,
        gpu_kwh=rates.pue * used.gpu_joules / _JOULES_PER_KWH,
        money=None if tariff.price is None else time / 3600 + kwh * tariff.price,
        co2_grams=None if tariff.intensity is None else kwh * tariff.intensity,
        currency=tariff.currency,
        region=tariff.region,
        source=("model" if used.joules is None else "rapl") + ("+nvml" if used.gpu_joules else ""),
        price_source=tariff.price_source,
        intensity_source=tariff.intensity_source,
    )


def modelled(used: Used, rates: Rates) -> float:
    """Return the energy of the CPU by the power model [J].

    A machine draws vCPUs x idle W all the time and (full - idle) W for each busy vCPU; the step's share of the first is that of
    its CPU time in all of the machine's.
    """
    joules = used.cpu_seconds * (rates.watts_per_vcpu - rates.idle_watts_per_vcpu)
    if not used.machine_cpu_seconds:  # it ran elsewhere: as if the machine had been busy all the time
        return joules + used.cpu_seconds * rates.idle_watts_per_vcpu
    share = min(1.0, used.cpu_seconds / used.machine_cpu_seconds)
    return joules + share * used.wall_seconds * used.vcpus * rates.idle_watts_per_vcpu


def per_thousand(milliseconds: float) -> float:
    """Return the energy of a thousand answers that keep one vCPU busy for so long each, by the default power model [Wh]."""
    return Rates.pue * milliseconds * Rates.watts_per_vcpu / 3600


def read(recorded: Mapping[str, Any] | None) -> Cost:
    """Return a recorded cost; one of an older record says ``usd``."""
    found = dict(recorded or {})
    if "usd" in found:
        found |= {"money": found["usd"], "currency": "USD"}
    return Cost(**{field.name: found[field.name] for field in fields(Cost) if field.name in found})


def figures(recorded: Mapping[str, Any] | None) -> str:
    """Return a recorded cost on one line; a dash is what nobody knows."""
    cost = read(recorded)
    money = "-" if cost.money is None else f"{cost.money:.6f}"
    grams = "-" if cost.co2_grams is None else small(cost.co2_grams)
    gpu = f"{cost.gpu_seconds:.1f} GPU s, " if cost.gpu_seconds else ""
    return f"{cost.cpu_seconds:.1f} CPU s, {gpu}{small(cost.kwh * 1000)} Wh, {money} {cost.currency}, {grams} g CO2"


def small(amount: float) -> str:
    """Return an amount with three decimals, or two digits where those would tell 0: what is little was not nothing."""
    decimals = 1 - math.floor(math.log10(abs(amount))) if 0 < abs(amount) < 0.01 else 3
    return f"{amount:.{decimals}f}"


def total(costs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sum of recorded costs; of memory the highest peak.

    Money of two currencies is not added: there is none then (`moneys` tells it by currency). Nor is there where a part of it
    is not known; the same holds for CO2.
    """
    found = [read(cost) for cost in costs]
    summed = asdict(Cost())
    for name in ("cpu_seconds", "wall_seconds", "gpu_seconds", "kwh", "gpu_kwh"):
        summed[name] = sum((getattr(cost, name) for cost in found), start=0.0)
    summed["max_rss_bytes"] = max((cost.max_rss_bytes for cost in found), default=0)
    for name in ("currency", "region", "source", "price_source", "intensity_source"):
        summed[name] = ", ".join(sorted({getattr(cost, name) for cost in found} - {""}))
    summed["money"] = None if "," in summed["currency"] else _sum(cost.money for cost in found)
    summed["co2_grams"] = _sum(cost.co2_grams for cost in found)
    return summed


def moneys(costs: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the sums of recorded money by currency, None where a part of one is not known."""
    found = [read(cost) for cost in costs]
    known = sorted({cost.currency for cost in found} - {""})
    return {currency: _sum(cost.money for cost in found if cost.currency == currency) for currency in known}


def _sum(parts: Iterable[float | None]) -> float | None:
    known = list(parts)
    return None if None in known else sum((part for part in known if part is not None), start=0.0)
