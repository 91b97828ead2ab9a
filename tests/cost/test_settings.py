"""What the variables FLEETML_COST_… say."""

from pathlib import Path

import pytest

from fleetml.cost import instances
from fleetml.cost.estimate import Rates
from fleetml.cost.settings import CostSettings
from fleetml.errors import ConfigurationError


def of(**given: str) -> CostSettings:
    return CostSettings.from_environment(
        {f"FLEETML_COST_{name}": value for name, value in given.items()} | {"HOME": "/x"}
    )


def test_nothing_said_is_the_default() -> None:
    assert of() == CostSettings()


def test_all_that_can_be_said(tmp_path: Path) -> None:
    place = tmp_path / "ours.csv"
    place.write_text("region,price,currency\nhome,0.3,EUR\n")
    found = of(
        REGION="home", CURRENCY="EUR", FILE=str(place), PRICE_PER_CORE_HOUR="0.01", PRICE_PER_GPU_HOUR="0", PUE="1"
    )
    assert found.rates == Rates(pue=1, price_per_core_hour=0.01, price_per_gpu_hour=0)
    assert (found.region, found.currency, found.file) == ("home", "EUR", place)


def test_a_known_machine_has_its_own_watts() -> None:
    assert of(INSTANCE="m5.xlarge").rates == Rates(watts_per_vcpu=4.2, idle_watts_per_vcpu=0.65)
    assert of(INSTANCE="m6g.large", WATTS_PER_VCPU="2").rates == Rates(watts_per_vcpu=2, idle_watts_per_vcpu=0.47)
    assert instances.watts("n2-standard-4") == instances.WATTS["Cascade Lake"]
    assert instances.watts("Standard_D4s_v3") == instances.WATTS["Broadwell"]
    assert instances.watts("Standard_D4as_v5") == instances.WATTS["EPYC 3rd Gen"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"REGION": "eu-west1"}, "FLEETML_COST_REGION must be known, got 'eu-west1'; the nearest is eu-west-1"),
        ({"CURRENCY": "euro"}, "FLEETML_COST_CURRENCY is three letters such as EUR, got 'euro'"),
        ({"CURRENCY": "EUR"}, "FLEETML_COST_PRICE_PER_CORE_HOUR"),
        ({"FILE": "/nowhere.csv"}, "FLEETML_COST_FILE must be a file, /nowhere.csv is none"),
        (
            {"INSTANCE": "m55.xlarge"},
            "FLEETML_COST_INSTANCE must be of a known family, 'm55.xlarge' is of 'm55'; did you mean 'm5'",
        ),
        ({"EIA_URL": "api.eia.gov"}, "FLEETML_COST_EIA_URL is an address"),
        ({"EIA_URL": "http://[::1"}, "FLEETML_COST_EIA_URL is an address"),
        ({"ELECTRICITY_MAPS_URL": "https://"}, "FLEETML_COST_ELECTRICITY_MAPS_URL is an address"),
        ({"PUE": "low"}, "FLEETML_COST_PUE is a number, got 'low'"),
        ({"WATTS": "3"}, "FLEETML_COST_WATTS"),
    ],
)
def test_a_mistake_is_told(given: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        of(**given)
