"""Prices and intensities by UTC hour."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from fleetml.cost import series
from fleetml.errors import ConfigurationError

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()


def written(folder: Path, content: str, name: str = "tariffs.csv") -> Path:
    place = folder / name
    place.write_text(content)
    return place


def test_a_file_of_hours_and_of_a_value_for_the_others(tmp_path: Path) -> None:
    place = written(
        tmp_path,
        "region,hour,price,currency,intensity\n"
        "de,2026-11-22T12:00Z,0.08,EUR,312\n"
        "de,2026-11-22T14:00+01:00,-0.02,EUR,\n"
        "de,,0.2,EUR,400\n"
        "no,,,,20\n",
    )
    price, intensity, norway = series.read(place)
    assert (price.region, price.quantity, price.unit, price.currency) == ("de", "price", "EUR/kWh", "EUR")
    assert [price.at(NOON + 3600 * n) for n in range(3)] == [0.08, -0.02, 0.2]
    assert [intensity.at(NOON), intensity.at(NOON + 3600)] == [312, 400]
    assert (norway.quantity, norway.unit, norway.at(NOON)) == ("intensity", "g/kWh", 20)
    assert price.source == "tariffs.csv"


def test_json_says_the_same(tmp_path: Path) -> None:
    place = written(
        tmp_path, '[{"region": "de", "hour": "2026-11-22T12:00Z", "price": 0.08, "currency": "EUR"}]', "t.json"
    )
    (price,) = series.read(place)
    assert price.at(NOON + 1800) == 0.08
    assert price.at(NOON + 3600) is None


def test_the_hour_that_a_clock_change_repeats_is_two_and_none_is_missing() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    autumn = [datetime(2026, 10, 25, 2, tzinfo=berlin, fold=fold) for fold in (0, 1)]
    found = series.series("de", "price", "EUR/kWh", "test", [(autumn[0], 0.1), (autumn[1], 0.3)])
    assert len(found.values) == 2
    midnight = datetime(2026, 10, 25, tzinfo=berlin)
    day = list(series.hours(midnight.timestamp(), datetime(2026, 10, 26, tzinfo=berlin).timestamp()))
    assert len(day) == 25
    spring = list(
        series.hours(datetime(2026, 3, 29, tzinfo=berlin).timestamp(), datetime(2026, 3, 30, tzinfo=berlin).timestamp())
    )
    assert len(spring) == 23


def test_local_times_of_a_clock_change_without_offsets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"row 2: an hour is ISO 8601 with its offset, got '2026-10-25T02:00'; write 2026"
    ):
        series.read(written(tmp_path, "region,hour,intensity\nde,2026-10-25T02:00,300\n"))
    with pytest.raises(ConfigurationError, match=r"row 3: the hour 2026-10-25T00:00Z comes twice; local times need"):
        series.read(
            written(tmp_path, "region,hour,intensity\nde,2026-10-25T02:00+02:00,300\nde,2026-10-25T00:30Z,310\n")
        )


def test_the_mean_over_a_span_weighs_hours_by_their_share() -> None:
    found = series.series("de", "price", "EUR/kWh", "test", [(NOON, 0.1), (NOON + 3600, 0.4)])
    assert found.mean(NOON + 1800, NOON + 3600 + 900) == pytest.approx((0.1 * 1800 + 0.4 * 900) / 2700)
    assert found.mean(NOON + 60, NOON + 60) == 0.1
    assert found.mean(NOON, NOON + 7201) is None
    assert found.between(NOON + 1, NOON + 7200) == [(NOON + 3600, 0.4)]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("de,,81,EUR,", "a price is from -1 to 10 EUR/kWh, got 81.0; mend it; per MWh"),
        ("de,,-2,EUR,", "a price is from -1 to 10"),
        ("de,,nan,EUR,", "price is a number, got 'nan'"),
        ("de,,0.2,,", "a price has a currency of three letters, got ''"),
        ("de,,0.2,eur,", "got 'eur'"),
        ("de,,,,-3", "a carbon intensity is from 0 to 2000 g/kWh, got -3.0"),
        ("de,,,,0.4 kg", "intensity is a number, got '0.4 kg'"),
        (",,,,3", "names no region"),
        ("de,,,,3,9", "unknown column"),
    ],
)
def test_what_is_implausible_is_refused_with_its_place(tmp_path: Path, row: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"tariffs.csv, row 2: .*{told.replace('(', '.')}"):
        series.read(written(tmp_path, f"region,hour,price,currency,intensity\n{row}\n"))


def test_two_currencies_for_one_region_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="row 3: gives a region's price in USD/kWh after EUR/kWh"):
        series.read(written(tmp_path, "region,hour,price,currency\nde,,0.2,EUR\nde,2026-11-22T12:00Z,0.2,USD\n"))


def test_a_yen_is_no_euro(tmp_path: Path) -> None:
    (price,) = series.read(written(tmp_path, "region,price,currency\njp,27,JPY\n"))
    assert price.at(0) == 27


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", "{"),
        ("a.json", "[1]"),
        ("a.csv", "zone,price\nde,1\n"),
        ("a.csv", ""),
        ("a.json", "[" * 100_000),
        ("a.csv", f"region,price\nde,{'1' * 200_000}\n"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        series.read(written(tmp_path, content, name))
    with pytest.raises(ConfigurationError, match="must be readable"):
        series.read(tmp_path / "missing.csv")


def test_values_from_elsewhere_are_held_to_the_same_rules() -> None:
    with pytest.raises(ValueError, match="got 300 at 2026-11-22T12:00Z"):
        series.series("de", "price", "EUR/kWh", "test", [(NOON, 300)])
    with pytest.raises(ValueError, match="comes twice"):
        series.series("de", "intensity", series.GRAMS, "test", [(NOON, 300), (NOON + 10, 300)])
    with pytest.raises(ValueError, match="has none"):
        series.hour_of(datetime(2026, 1, 1))
    assert series.hour_of(
        datetime(2026, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    ) == series.hour_of(datetime(2026, 1, 1, tzinfo=UTC))
