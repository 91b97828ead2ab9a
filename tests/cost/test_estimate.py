"""The cost of a process: checked by hand."""

import pytest

from fleetml.cost.estimate import Cost, Rates, Tariff, estimate, figures, moneys, read, total
from fleetml.errors import ConfigurationError
from fleetml.frozen import asdict
from fleetml.runners import Usage


def test_a_core_hour() -> None:
    """One vCPU busy for an hour, no memory: 3.5 W x PUE 1.135."""
    cost = estimate(Usage(3600, 0, 3600), Rates(), Tariff())
    assert cost.kwh == pytest.approx(0.0039725)
    assert cost.money == pytest.approx(0.048 + 0.0039725 * 0.12)
    assert cost.co2_grams == pytest.approx(0.0039725 * 400)
    assert (cost.currency, cost.region, cost.source) == ("USD", "default", "model")


def test_memory_uses_energy_but_costs_no_core_time() -> None:
    """10 GB held for an hour: 3.92 W x PUE."""
    cost = estimate(Usage(0, 10**10, 3600), Rates(), Tariff(price=0))
    assert cost.kwh == pytest.approx(0.0044492)
    assert cost.money == 0


def test_idle_power_is_shared_by_busy_time() -> None:
    """Half of what was busy on 4 vCPUs of 1 W idle and 3 W full, for an hour: 2 h x 2 W + half of 4 W x 1 h."""
    rates = Rates(watts_per_vcpu=3, idle_watts_per_vcpu=1, pue=1)
    cost = estimate(Usage(7200, 0, 3600, machine_cpu_seconds=14400, vcpus=4), rates, Tariff())
    assert cost.kwh == pytest.approx(0.006)


def test_where_the_machine_is_another_it_counts_as_busy() -> None:
    rates = Rates(watts_per_vcpu=3, idle_watts_per_vcpu=1, pue=1)
    assert estimate(Usage(3600, 0, 3600), rates, Tariff()).kwh == pytest.approx(0.003)


def test_what_was_measured_goes_before_the_model() -> None:
    """36 kJ of the processor and 72 kJ of a GPU that was busy for half an hour."""
    usage = Usage(3600, 0, 3600, joules=36e3, gpu_seconds=1800, gpu_joules=72e3)
    cost = estimate(
        usage, Rates(pue=1, price_per_core_hour=0.04, price_per_gpu_hour=2), Tariff(price=0.5, intensity=100)
    )
    assert (cost.kwh, cost.gpu_kwh) == (pytest.approx(0.03), pytest.approx(0.02))
    assert cost.money == pytest.approx(0.04 + 1 + 0.015)
    assert cost.co2_grams == pytest.approx(3)
    assert cost.source == "rapl+nvml"


def test_a_negative_price_pays_and_an_unknown_one_is_no_nought() -> None:
    assert estimate(Usage(3600, 0, 3600), Rates(price_per_core_hour=0), Tariff(price=-0.05)).money == pytest.approx(
        -0.000198625
    )
    unknown = estimate(Usage(3600, 0, 3600), Rates(), Tariff(price=None, intensity=None))
    assert (unknown.money, unknown.co2_grams) == (None, None)
    assert unknown.kwh > 0


def test_the_total_adds_all_but_the_peak() -> None:
    summed = total([{"cpu_seconds": 1.0, "max_rss_bytes": 5, "kwh": 0.5}, {"cpu_seconds": 2.0, "max_rss_bytes": 3}])
    assert (summed["cpu_seconds"], summed["max_rss_bytes"], summed["kwh"]) == (3.0, 5, 0.5)
    assert total([]) == asdict(Cost())


def test_two_currencies_are_never_added() -> None:
    costs = [
        asdict(Cost(money=1.0, currency="USD", kwh=1)),
        asdict(Cost(money=2.0, currency="EUR", kwh=2)),
        asdict(Cost()),
    ]
    summed = total(costs)
    assert (summed["money"], summed["currency"], summed["kwh"]) == (None, "EUR, USD", 3)
    assert moneys(costs) == {"EUR": 2.0, "USD": 1.0}


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    costs = [
        asdict(Cost(money=None, currency="USD", co2_grams=None)),
        asdict(Cost(money=2.0, currency="USD", co2_grams=1)),
    ]
    assert (total(costs)["money"], total(costs)["co2_grams"]) == (None, None)
    assert moneys(costs) == {"USD": None}


def test_older_records_are_in_dollars() -> None:
    assert read({"cpu_seconds": 1.0, "usd": 0.5}) == Cost(cpu_seconds=1.0, money=0.5, currency="USD")
    assert total([{"usd": 0.5}, asdict(Cost(money=1.0, currency="USD"))])["money"] == 1.5


def test_what_a_short_step_takes_is_not_told_as_nothing() -> None:
    told = figures(asdict(Cost(cpu_seconds=0.1, kwh=1.5e-7, money=2e-6, co2_grams=6e-5, currency="USD")))
    assert told == "0.1 CPU s, 0.00015 Wh, 0.000002 USD, 0.000060 g CO2"
    assert "0.000 Wh" in figures(asdict(Cost()))


def test_rates_are_named_and_not_negative() -> None:
    assert Rates.of({"usd_per_kwh": 0.3, "usd_per_core_hour": 0}) == Rates(price_per_kwh=0.3, price_per_core_hour=0)
    for name, value in (("pue", -1.0), ("pue", float("nan")), ("watts", 1.0)):
        with pytest.raises(ConfigurationError, match=f"FLEETML_COST_{name.upper()}"):
            Rates.of({name: value})


def test_energy_may_have_a_negative_price_and_nothing_else() -> None:
    """As in a file of prices: who takes energy when there is too much of it is paid."""
    assert Rates.of({"price_per_kwh": -0.05}).price_per_kwh == -0.05
    assert Rates.of({"usd_per_kwh": -0.05}).price_per_kwh == -0.05
    for name, value in (("price_per_kwh", float("-inf")), ("price_per_kwh", float("nan")), ("grams_per_kwh", -1.0)):
        with pytest.raises(ConfigurationError, match=f"FLEETML_COST_{name.upper()}"):
            Rates.of({name: value})


def test_prices_of_another_currency_have_no_defaults() -> None:
    with pytest.raises(
        ConfigurationError,
        match="price_per_core_hour is in USD, FLEETML_COST_CURRENCY is EUR; set FLEETML_COST_PRICE_PER_CORE",
    ):
        Rates.of({}, "EUR")
    with pytest.raises(ConfigurationError, match="FLEETML_COST_USD_PER_KWH"):
        Rates.of({"usd_per_kwh": 1, "price_per_core_hour": 0, "price_per_gpu_hour": 0}, "EUR")
    assert Rates.of({"price_per_core_hour": 0.05, "price_per_gpu_hour": 0}, "EUR").price_per_core_hour == 0.05
