"""The metrics of a scenario: by hand, and what holds of all of them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetml.cost.catalogue import (
    COST,
    QOE,
    RESULTS,
    Predicted,
    Prices,
    cost,
    cost_labels,
    qoe,
    results,
    results_labels,
)
from fleetml.cost.scenarios import Output, Scenario
from fleetml.errors import ConfigurationError
from fleetml.frozen import replace

PRICES = Prices(per_kwh=0.36, per_core_hour=0.72, currency="EUR", grams_per_kwh=500.0)
ONE = Scenario(
    name="2 Streams @ 2500k",
    streams=2,
    bitrate="2500k",
    mbps=2.5,
    resolution="1280x720",
    fps=30.0,
    outputs=(Output(1280, 720, 30.0),),
    duration=10.0,
    start_time=1000.0,
    end_time=1010.0,
    encoder="h264",
    encoder_type="cpu",
    viewers=36,
    vmaf_score=90.0,
    psnr_score=41.0,
    dropped_frames=3,
    total_frames=300,
    power_watts=(100.0, 200.0, 100.0),
    cpu_usage_cores=(1.0, 3.0, 1.0),
    step_seconds=5.0,
)
IDLE = Scenario(
    name="Baseline (Idle)", bitrate="0k", mbps=0.0, power_watts=(10.0, 10.0), step_seconds=5.0, duration=5.0
)
JOULES = 1500.0  # (100 + 200) / 2 x 5 + (200 + 100) / 2 x 5
CORE_SECONDS = 20.0
PIXELS = 1280 * 720 * 30 * 10
MEAN = 400 / 3


def test_costs_by_hand() -> None:
    found = cost(ONE, IDLE, PRICES)
    energy, compute = JOULES * 0.36 / 3.6e6, CORE_SECONDS * 0.72 / 3600
    assert found == pytest.approx(
        {
            "cost_total_load_aware": energy + compute,
            "cost_energy_load_aware": energy,
            "cost_compute_load_aware": compute,
            "cost_per_pixel": (energy + compute) / PIXELS,
            "cost_per_watch_hour": (energy + compute) / (10 / 3600 * 36),
            "cost_usd_per_hour": MEAN / 1000 * 0.36,
            "cost_monthly_projection": MEAN / 1000 * 0.36 * 720,
            "cost_monthly_savings": (10 - MEAN) / 1000 * 0.36 * 720,
            "co2_emissions_kg_per_hour": MEAN / 1000 * 0.5,
            "co2_monthly_projection": MEAN / 1000 * 0.5 * 720,
            "co2_monthly_avoided": (10 - MEAN) / 1000 * 0.5 * 720,
        }
    )
    assert list(found) == list(COST)


def test_quality_by_hand() -> None:
    assert qoe(ONE) == pytest.approx(
        {
            "qoe_vmaf_score": 90.0,
            "qoe_psnr_score": 41.0,
            "qoe_quality_per_watt": 90 / MEAN,
            "qoe_efficiency_score": PIXELS * 0.9 / JOULES,
            "qoe_drop_rate": 0.01,
        }
    )


def test_results_by_hand() -> None:
    found = results(ONE, IDLE, Predicted(120.0, 110.0, 130.0))
    assert found == pytest.approx(
        {
            "duration_seconds": 10.0,
            "mean_power_watts": MEAN,
            "measured_power_watts": MEAN,
            "power_stdev": 100 / 3**0.5,
            "total_energy_joules": JOULES,
            "total_energy_wh": JOULES / 3600,
            "energy_wh_per_min": JOULES / 3600 * 6,
            "energy_wh_per_mbps": JOULES / 3600 / 2.5,
            "energy_mj_per_frame": JOULES / 300 * 1000,
            "container_cpu_percent": 500 / 3,
            "net_power_watts": MEAN - 10,
            "net_energy_wh": (JOULES - 100) / 3600,
            "delta_power_watts": MEAN - 10,
            "delta_energy_wh": (JOULES - 100) / 3600,
            "power_pct_increase": (MEAN - 10) / 10 * 100,
            "total_pixels": PIXELS,
            "efficiency_score": PIXELS * 0.9 / JOULES,
            "predicted_power_watts": 120.0,
            "predicted_energy_joules": 1200.0,
            "predicted_efficiency_score": PIXELS * 0.9 / 1200,
            "prediction_confidence_low": 110.0,
            "prediction_confidence_high": 130.0,
            "dropped_frames": 3.0,
            "total_frames": 300.0,
            "vmaf_score": 90.0,
            "psnr_score": 41.0,
        }
    )
    assert set(found) < set(RESULTS)


def test_nothing_is_known_of_a_bare_scenario_and_nothing_is_zero() -> None:
    bare = Scenario(name="bare")
    assert (cost(bare, None, PRICES), qoe(bare), results(bare, None)) == ({}, {}, {})


@pytest.mark.parametrize(
    ("lacking", "absent"),
    [
        (
            {"cpu_usage_cores": ()},
            {"cost_total_load_aware", "cost_compute_load_aware", "cost_per_pixel", "cost_per_watch_hour"},
        ),
        ({"power_watts": ()}, set(COST) - {"cost_compute_load_aware"}),
        ({"outputs": ()}, {"cost_per_pixel"}),
        ({"viewers": None}, {"cost_per_watch_hour"}),
        ({"viewers": 0}, {"cost_per_watch_hour"}),
        ({"duration": None}, {"cost_per_pixel", "cost_per_watch_hour"}),
        (
            {"step_seconds": None},
            {name for name in COST if name.endswith("load_aware")} | {"cost_per_pixel", "cost_per_watch_hour"},
        ),
        (
            {"refused": frozenset({"gpu_usage_cores"})},
            {"cost_total_load_aware", "cost_compute_load_aware", "cost_per_pixel", "cost_per_watch_hour"},
        ),
    ],
)
def test_what_needs_a_missing_field_is_absent(lacking: dict[str, Any], absent: set[str]) -> None:
    assert set(COST) - set(cost(replace(ONE, **lacking), IDLE, PRICES)) == absent


def test_without_a_baseline_nothing_is_saved() -> None:
    assert set(COST) - set(cost(ONE, None, PRICES)) == {"cost_monthly_savings", "co2_monthly_avoided"}
    above = {name for name in RESULTS if name.startswith(("net_", "delta_", "power_pct"))}
    assert above & set(results(ONE, None)) == set()
    assert above & set(results(IDLE, IDLE)) == set()


def test_the_idle_machine_delivers_no_pixels() -> None:
    idle = replace(IDLE, outputs=ONE.outputs, cpu_usage_cores=(0.1, 0.1))
    assert "cost_per_pixel" not in cost(idle, idle, PRICES)
    assert cost(idle, idle, PRICES)["cost_monthly_savings"] == 0.0


def test_gpu_cores_cost_as_cpu_cores_unless_they_have_a_price() -> None:
    gpu = replace(ONE, gpu_usage_cores=(1.0, 1.0, 1.0))
    assert cost(gpu, None, PRICES)["cost_compute_load_aware"] == pytest.approx(30 * 0.72 / 3600)
    priced = replace(PRICES, per_gpu_hour=7.2)
    assert cost(gpu, None, priced)["cost_compute_load_aware"] == pytest.approx((20 * 0.72 + 10 * 7.2) / 3600)


def test_labels_are_those_that_dashboards_query() -> None:
    assert cost_labels(ONE, "EUR") == {
        "scenario": "2_Streams_@_2500k",
        "streams": "2",
        "bitrate": "2500k",
        "encoder": "h264",
        "currency": "EUR",
        "service": "cost-analysis",
    }
    assert cost_labels(replace(ONE, bitrate=None), "EUR") is None
    assert results_labels(ONE, "run") == {
        "run_id": "run",
        "scenario": "2 Streams @ 2500k",
        "bitrate": "2500k",
        "resolution": "1280x720",
        "fps": "30",
        "streams": "2",
        "output_ladder": "1280x720@30",
        "encoder_type": "cpu",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"per_kwh": float("nan")},
        {"per_core_hour": -1.0},
        {"grams_per_kwh": float("inf")},
        {"per_gpu_hour": -1.0},
        {"currency": "euro"},
        {"currency": "€"},
    ],
)
def test_prices_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        replace(PRICES, **wrong)


SAMPLES = st.lists(st.floats(0.1, 1e3), min_size=2, max_size=50).map(tuple)
PER_KWH = st.floats(0.0, 10.0)
UNTIMED = settings(deadline=None)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    power, step = draw(SAMPLES), draw(st.floats(0.5, 60))
    cores = draw(st.lists(st.floats(0.1, 1e3), min_size=len(power), max_size=len(power)).map(tuple))
    return replace(
        ONE,
        power_watts=power,
        cpu_usage_cores=cores,
        step_seconds=step,
        viewers=draw(st.integers(1, 10**6)),
        duration=(len(power) - 1) * step * draw(st.floats(0.92, 1.08)),
    )


@UNTIMED
@given(scenarios(), PER_KWH, PER_KWH, st.floats(0, 10))
def test_money_is_linear_in_prices(one: Scenario, per_kwh: float, per_core_hour: float, factor: float) -> None:
    once = cost(one, IDLE, Prices(per_kwh, per_core_hour, "EUR"))
    times = cost(one, IDLE, Prices(per_kwh * factor, per_core_hour * factor, "EUR"))
    for name, value in once.items():
        assert times[name] == pytest.approx(value if name.startswith("co2") else value * factor, rel=1e-9, abs=1e-12)


@UNTIMED
@given(scenarios(), PER_KWH, PER_KWH, PER_KWH)
def test_money_adds_over_the_parts_of_a_price(one: Scenario, first: float, second: float, cores: float) -> None:
    whole = cost(one, IDLE, Prices(first + second, cores, "EUR"))
    parts = [cost(one, IDLE, Prices(first, cores, "EUR")), cost(one, IDLE, Prices(second, 0.0, "EUR"))]
    for name, value in whole.items():
        if not name.startswith("co2"):
            assert value == pytest.approx(sum(it[name] for it in parts), rel=1e-9, abs=1e-12)


@UNTIMED
@given(scenarios(), st.floats(-900, 2e9))
def test_when_a_scenario_ran_changes_nothing(one: Scenario, later: float) -> None:
    moved = replace(one, start_time=1000.0 + later, end_time=1010.0 + later)
    assert cost(moved, IDLE, PRICES) == cost(one, IDLE, PRICES)
    assert results(moved, IDLE) == results(one, IDLE)


@UNTIMED
@given(scenarios())
def test_total_is_energy_and_compute_and_all_is_finite(one: Scenario) -> None:
    found = cost(one, IDLE, PRICES)
    assert found["cost_total_load_aware"] == found["cost_energy_load_aware"] + found["cost_compute_load_aware"]
    assert all(
        abs(value) < float("inf") for value in [*found.values(), *qoe(one).values(), *results(one, IDLE).values()]
    )


def test_every_metric_says_its_meaning() -> None:
    assert all(meaning for each in (COST, QOE, RESULTS) for meaning in each.values())


@pytest.mark.parametrize(("streams", "told"), [(0, "0"), (None, "1"), (4, "4")])
def test_the_label_streams_is_what_the_name_tells(streams: int | None, told: str) -> None:
    found = Scenario(name="a", streams=streams, bitrate="5M", mbps=5.0)
    labels = cost_labels(found, "USD")
    assert labels is not None
    assert (labels["streams"], results_labels(found, "run")["streams"]) == (told, told)
