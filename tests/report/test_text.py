import pytest

from fleetml.report import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.000032, "0.000032"),
        (0.81234, "0.8123"),
        (345600, "345,600"),
        (1.5e6, "1,500,000"),
        (0.0, "0"),
        (-0.00012, "-0.00012"),
        (None, "-"),
        (True, "True"),
        ("tcn", "tcn"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_figure(value, shown):
    assert text.figure(value) == shown


def test_three_figures_and_no_more():
    assert text.figures({"rows": 10, "mase_val": 0.5, "c": 1, "d": 2}) == "rows 10, mase val 0.5, c 1"
    assert text.figures(None) == ""


@pytest.mark.parametrize(("value", "shown"), [(0.44, "0.4 s"), (12.4, "12 s"), (185, "3 min 05 s"), (119.7, "120 s")])
def test_seconds(value, shown):
    assert text.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(512, "512 B"), (9800, "9.8 kB"), (1.2e6, "1.2 MB"), (3e9, "3 GB"), (None, "-")]
)
def test_size(value, shown):
    assert text.size(value) == shown


def test_cost_names_time_energy_money_and_co2():
    shown = text.cost({"cpu_seconds": 214.2, "kwh": 0.0004, "usd": 0.0035, "co2_grams": 0.18})
    assert shown == "214.2 CPU-s, 0.00040 kWh, 0.0035 USD, 0.18 g CO2"
