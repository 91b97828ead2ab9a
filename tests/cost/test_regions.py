"""The regions that are known."""

import pytest

from fleetml.cost import regions
from fleetml.errors import ConfigurationError


def test_the_table_is_the_catalogues() -> None:
    figures = {name: (region.usd_per_kwh, region.grams_per_kwh) for name, region in regions.TABLE.items()}
    assert figures == {
        "us-east-1": (0.12, 390),
        "us-east-2": (0.11, 450),
        "us-west-1": (0.19, 220),
        "us-west-2": (0.10, 180),
        "eu-west-1": (0.22, 250),
        "eu-central-1": (0.28, 380),
        "ap-northeast-1": (0.24, 480),
        "ap-southeast-1": (0.18, 520),
        "ap-southeast-2": (0.21, 650),
        "default": (0.12, 400),
    }


def test_an_unknown_region_is_told_the_nearest() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"FLEETML_COST_REGION must be known, got 'eu-centrall-1'; the nearest is eu-central-1, known are .*FLEETML_COST_FILE",
    ):
        regions.require("eu-centrall-1", place="FLEETML_COST_REGION")


def test_a_files_regions_are_known_too() -> None:
    regions.require("basement", also=["basement"])
    with pytest.raises(ConfigurationError, match="the nearest is basement,"):
        regions.require("basment", also=["basement"])
