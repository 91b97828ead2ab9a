"""The cost of a process: checked by hand."""

import pytest

from fleetml.cost.estimate import Cost, Rates, estimate, total


def test_a_core_hour() -> None:
    """One vCPU busy for an hour, no memory: 3.5 W x PUE 1.135."""
    cost = estimate(3600, 3600, 0, Rates())
    assert cost.kwh == pytest.approx(0.0039725)
    assert cost.usd == pytest.approx(0.048 + 0.0039725 * 0.12)
    assert cost.co2_grams == pytest.approx(0.0039725 * 400)


def test_memory_uses_energy_but_costs_no_core_time() -> None:
    """10 GB held for an hour: 3.92 W x PUE."""
    cost = estimate(0, 3600, 10**10, Rates(usd_per_kwh=0))
    assert cost.kwh == pytest.approx(0.0044492)
    assert cost.usd == 0


def test_the_total_adds_all_but_the_peak() -> None:
    summed = total([{"cpu_seconds": 1.0, "max_rss_bytes": 5, "kwh": 0.5}, {"cpu_seconds": 2.0, "max_rss_bytes": 3}])
    assert (summed["cpu_seconds"], summed["max_rss_bytes"], summed["kwh"]) == (3.0, 5, 0.5)
    assert total([]) == dict.fromkeys(vars(Cost()), 0)
