"""Offers from a file: what a row means, and which row is wrong."""

from pathlib import Path

import pytest

from fleetml.cost import offers
from fleetml.cost.schedule import Offer
from fleetml.errors import ConfigurationError

HEAD = "region,instance,hours,kwh,per_hour,currency,longest_hours\n"


def test_a_row_is_an_offer_and_what_is_empty_is_the_usual(tmp_path: Path) -> None:
    place = tmp_path / "offers.csv"
    place.write_text(f"{HEAD}a,c5,1.5,0.4,0.8,EUR,2\nb,,3,0,,,\n")
    assert offers.read(place, "EUR") == [
        Offer("a", 5400.0, 0.4, "c5", 0.8, "EUR", 7200.0),
        Offer("b", 10800.0, 0.0, "", 0.0, "EUR", 0.0),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HEAD}a,c5,1,1,1,USD,\n", "row 2: amounts are in EUR .* got USD"),
        (f"{HEAD}a,,0,1,,,\n", "row 2: hours is a number above 0, got '0'"),
        (f"{HEAD}a,,1,1,,,\nb,,1,-1,,,\n", "row 3: kwh is a number from 0, got '-1'"),
        (f"{HEAD}a,,1,nan,,,\n", "kwh is a number from 0, got 'nan'"),
        (f"{HEAD}a,,1,,,,\n", "kwh is a number from 0, got ''"),
        (f"{HEAD},,1,1,,,\n", "names its region, got none"),
        (HEAD, "has none; write where the run may go"),
        ("region,hours\na,1\n", "'kwh' is unknown or lacks"),
        ("region,hours,kwh,price\na,1,1,1\n", "'price' is unknown or lacks"),
        ("", "columns none"),
        (f"{HEAD}a,{'c' * 200_000},1,1,,,\n", "field larger than"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, text: str, said: str) -> None:
    place = tmp_path / "offers.csv"
    place.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        offers.read(place, "EUR")
