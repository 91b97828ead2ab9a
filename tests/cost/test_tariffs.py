"""Where prices and intensities come from, with a local server that plays the APIs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetml import breakers
from fleetml.cost import tariffs
from fleetml.cost.estimate import Rates, Tariff
from fleetml.cost.series import HOUR, hour_of, told
from fleetml.cost.settings import CostSettings
from fleetml.cost.tariffs import Tariffs
from fleetml.errors import ConfigurationError
from tests.cost.apis_server import EIA_MIX, EIA_PRICE, ELECTRICITY_MAPS, Played, intensities, mix, playing, price

NOW = time.time()
Make = Callable[..., Tariffs]


@pytest.fixture
def apis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    monkeypatch.setattr(breakers, "_known", {})
    with playing() as played:
        yield played


@pytest.fixture
def make(apis: Played, tmp_path: Path) -> Make:
    """Return a function that makes tariffs of a region, which know both tokens."""

    def made(region: str = "eu-central-1", lines: list[str] | None = None, token: Any = None, **known: Any) -> Tariffs:
        settings = CostSettings(region=region, electricity_maps=apis.address, eia=apis.address, **known)
        return Tariffs(
            settings,
            tmp_path,
            token or {"electricity-maps": "em-token", "eia": "eia-key"}.get,
            (lines if lines is not None else []).append,
        )  # type: ignore[arg-type]

    return made


def at_once(found: Tariffs) -> Tariff:
    return found.over(NOW, NOW)


def test_without_file_or_token_the_table_says(tmp_path: Path) -> None:
    assert at_once(Tariffs(CostSettings(region="us-west-2"), tmp_path)) == Tariff("us-west-2", "USD", 0.10, 180)
    assert at_once(Tariffs(CostSettings(), tmp_path)) == Tariff("default", "USD", 0.12, 400)
    assert not list(tmp_path.iterdir())


def test_what_is_set_goes_first(make: Make) -> None:
    found = at_once(make(rates=Rates(price_per_kwh=0.3, grams_per_kwh=34)))
    assert found == Tariff("eu-central-1", "USD", 0.3, 34, "settings", "settings")


def test_the_file_goes_before_the_api_and_the_api_before_the_table(make: Make, apis: Played, tmp_path: Path) -> None:
    apis.answers = {ELECTRICITY_MAPS: (200, intensities("US-MIDA-PJM")), EIA_PRICE: (200, price())}
    place = tmp_path / "ours.csv"
    place.write_text(f"region,hour,intensity\nus-east-1,{told(hour_of(NOW))},55\n")
    found = make("us-east-1", file=place).over(NOW, NOW)
    assert found == Tariff("us-east-1", "USD", 0.095, 55, "EIA", "ours.csv")
    place.write_text("region,hour,intensity\nus-east-1,2020-01-01T00:00Z,55\n")
    assert at_once(make("us-east-1", file=place)).intensity_source == "Electricity Maps"


def test_electricity_maps_is_asked_once_an_hour_by_its_own_rules(make: Make, apis: Played) -> None:
    apis.answers[ELECTRICITY_MAPS] = (200, intensities())
    last = hour_of(NOW)
    assert at_once(make()) == Tariff("eu-central-1", "USD", 0.28, 300, "table", "Electricity Maps")
    assert make().over(last - HOUR, last + 1).intensity == pytest.approx(400, rel=1e-3)
    assert make().over(last - 2 * HOUR, last - 1).intensity == 400
    ((path, query, headers),) = apis.asked
    assert (path, query, headers["auth-token"]) == (ELECTRICITY_MAPS, {"zone": ["DE"]}, "em-token")


def test_after_an_hour_it_is_asked_again_and_earlier_hours_are_kept(make: Make, apis: Played, tmp_path: Path) -> None:
    apis.answers[ELECTRICITY_MAPS] = (200, intensities())
    at_once(make())
    place = tmp_path / "tariffs" / "electricity-maps-eu-central-1.json"
    kept = json.loads(place.read_text())
    before = hour_of(NOW) - 48 * HOUR
    kept["series"]["values"][str(before)] = 77.0
    place.write_text(json.dumps({**kept, "asked": kept["asked"] - HOUR - 1}))
    assert at_once(make()).intensity == 300
    assert len(apis.asked) == 2
    assert make().over(before, before + 60).intensity == 77


def test_the_eia_tells_price_and_mix_of_the_usa(make: Make, apis: Played) -> None:
    apis.answers = {
        EIA_MIX: (200, mix(COL=100, NG=300, NUC=400, SUN=200, BAT=-50, OTH=70)),
        EIA_PRICE: (200, price(cents="9.5")),
    }
    found = at_once(make("us-east-1", token={"eia": "eia-key"}.get))
    assert found.intensity == pytest.approx((100 * 1048 + 300 * 435) / 1000)
    assert (found.price, found.price_source, found.intensity_source) == (0.095, "EIA", "EIA")
    asked = {path: query for path, query, _ in apis.asked}
    assert asked[EIA_MIX]["facets[respondent][]"] == ["PJM"]
    assert asked[EIA_PRICE]["facets[stateid][]"] == ["VA"]


LIES: dict[str, tuple[int, Any]] = {
    "another zone": (200, intensities("FR")),
    "negative": (200, intensities(value=-3)),
    "too much": (200, intensities(value=9000)),
    "kilograms": (200, intensities(value=0.3)),
    "another unit": (200, intensities(unit="lb/MWh")),
    "no number": (200, intensities(value=None)),
    "a truth value": (200, intensities(value=True)),
    "NaN": (200, intensities(value=float("nan"))),
    "stale": (200, intensities(newest=NOW - 8 * HOUR)),
    "of the future": (200, intensities(newest=NOW + 30 * HOUR)),
    "no hours": (200, {"zone": "DE", "history": []}),
    "not a list": (200, {"zone": "DE", "history": "yes"}),
    "a time twice": (200, {"history": intensities()["history"] * 2}),
    "no time": (200, {"history": [{"zone": "DE", "carbonIntensity": 3, "datetime": "soon"}]}),
    "HTML": (200, b"<!doctype html><title>Sign in</title>"),
    "a list": (200, [1]),
    "half a JSON": (200, b'{"zone": "DE", "hist'),
    "too long": (200, b" " * (2**20 + 1)),
    "an error": (500, {"error": "x"}),
    "no right": (401, {"error": "Invalid auth-token em-token"}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_said_and_the_next_source_asked(make: Make, apis: Played, lie: str) -> None:
    apis.answers[ELECTRICITY_MAPS] = LIES[lie]
    lines: list[str] = []
    assert at_once(make(lines=lines)) == Tariff("eu-central-1", "USD", 0.28, 380)
    assert len(lines) == 1
    assert lines[0].startswith("Electricity Maps is not used, the next source is: ")
    assert "em-token" not in lines[0]
    assert at_once(make()).intensity_source == "table"
    assert len(apis.asked) == 1, "it is left alone for five minutes, in other processes too"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({EIA_MIX: (200, mix("MISO", NG=1))}, "'respondent' of its answer must be 'PJM', got 'MISO'"),
        ({EIA_MIX: (200, mix(unit="gigawatthours", NG=1))}, "'value-units' of its answer must be 'megawatthours'"),
        ({EIA_MIX: (200, mix(NG=0, BAT=-5))}, "it names no hour"),
        ({EIA_MIX: (200, mix(newest=NOW - 60 * HOUR, NG=1))}, "at most 48 h old"),
        ({EIA_PRICE: (200, price("NY"))}, "'stateid' of its answer must be 'VA', got 'NY'"),
        ({EIA_PRICE: (200, price(unit="dollars per megawatthour"))}, "'price-units'"),
        ({EIA_PRICE: (200, price(cents="0.09"))}, "from 0.5 to 100 cents/kWh, got 0.09"),
        ({EIA_PRICE: (200, price(cents="-4"))}, "got -4.0"),
        ({EIA_PRICE: (200, price(month="2019-01"))}, "at most 6480 h old, got one of 2019-01-01"),
    ],
)
def test_the_eia_is_checked_as_well(make: Make, apis: Played, answers: dict[str, Any], said: str) -> None:
    apis.answers = {EIA_MIX: (200, mix(NG=1)), EIA_PRICE: (200, price()), **answers}
    lines: list[str] = []
    found = at_once(make("us-east-1", lines, {"eia": "eia-key"}.get))
    assert said in lines[0]
    assert "table" in (found.price_source, found.intensity_source)
    assert "EIA" in (found.price_source, found.intensity_source), "the other one is used"
    assert not any("eia-key" in line for line in lines)


def test_an_api_that_does_not_answer_is_not_waited_for(
    make: Make, apis: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tariffs, "PATIENCE", 0.2)
    apis.answers[ELECTRICITY_MAPS] = (200, intensities())
    apis.silent.set()
    assert at_once(make()).intensity_source == "table"
    apis.silent.clear()


def test_nobody_listens(tmp_path: Path) -> None:
    lines: list[str] = []
    settings = CostSettings(region="eu-west-1", electricity_maps="http://127.0.0.1:9")
    assert Tariffs(settings, tmp_path, lambda name: "t", lines.append).over(NOW, NOW).intensity == 250
    assert "it does not answer: [Errno 111] Connection refused" in lines[0]


def test_a_redirect_is_not_followed_with_the_token(make: Make, apis: Played) -> None:
    apis.answers = {ELECTRICITY_MAPS: (302, b""), "/elsewhere": (200, intensities())}
    apis.headers["Location"] = "/elsewhere"
    lines: list[str] = []
    assert at_once(make(lines=lines)).intensity_source == "table"
    assert "HTTP 302" in lines[0]
    assert len(apis.asked) == 1


def test_hours_that_it_told_before_are_still_used_when_it_fails(make: Make, apis: Played, tmp_path: Path) -> None:
    apis.answers[ELECTRICITY_MAPS] = (200, intensities(newest=NOW - HOUR))
    at_once(make())
    place = tmp_path / "tariffs" / "electricity-maps-eu-central-1.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "asked": 0.0}))
    apis.answers[ELECTRICITY_MAPS] = (503, b"")
    assert make().over(NOW - 2 * HOUR, NOW - 2 * HOUR).intensity_source == "Electricity Maps"
    assert at_once(make()) == Tariff("eu-central-1", "USD", 0.28, 380)


def test_a_damaged_cache_counts_as_none(make: Make, apis: Played, tmp_path: Path) -> None:
    apis.answers[ELECTRICITY_MAPS] = (200, intensities())
    place = tmp_path / "tariffs" / "electricity-maps-eu-central-1.json"
    place.parent.mkdir()
    place.write_text('{"asked": 1e12, "series": 3')
    assert at_once(make()).intensity == 300


def test_a_price_in_another_currency_is_not_used(make: Make, tmp_path: Path) -> None:
    place, lines = tmp_path / "ours.csv", []
    place.write_text("region,price,currency\nhome,-0.05,EUR\n")
    found = at_once(make("home", lines, file=place))
    assert (found.price, found.currency) == (None, "USD")
    assert "the price of ours.csv is in EUR, runs are reckoned in USD" in lines[0]
    assert at_once(make("home", file=place, currency="EUR")) == Tariff("home", "EUR", -0.05, None, "ours.csv", "")


def test_an_unknown_region_and_a_broken_file(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the nearest is us-east-1"):
        make("us-eats-1")
    place, lines = tmp_path / "ours.csv", []
    place.write_text("region,price,currency\neu-west-1,cheap,EUR\n")
    assert at_once(make("eu-west-1", lines, token=lambda name: "", file=place)).price_source == "table"
    assert "FLEETML_COST_FILE is not used" in lines[0]
    assert "price is a number, got 'cheap'" in lines[0]


def test_an_hour_that_the_eias_answer_cuts_off_is_not_told_from_its_rest(make: Make, apis: Played) -> None:
    """Rows come newest first, up to a number: the oldest hour may have some of its fuels alone, each time another hour."""
    hours = [told(hour_of(NOW) - HOUR * back)[:13] for back in range(101)]
    fuels = {"NG": "1", "COL": "1", "NUC": "2", "SUN": "1", "WND": "1", "WAT": "1", "GEO": "1"}
    about = {"respondent": "PJM", "value-units": "megawatthours"}
    rows = [{"period": hour, "fueltype": fuel, "value": mwh, **about} for hour in hours for fuel, mwh in fuels.items()]
    apis.answers = {EIA_PRICE: (200, price()), EIA_MIX: (200, {"response": {"data": rows[:300]}})}
    tariffs = make("us-east-1", token={"eia": "eia-key"}.get)
    at_once(tariffs)
    (known,) = [found for found in tariffs.series("intensity") if found.source == "EIA"]
    assert set(known.values.values()) == {(435.0 + 1048.0) / 8}


def test_an_address_that_is_none_is_refused_without_the_token(make: Make, apis: Played) -> None:
    apis.address += "/a b"
    lines: list[str] = []
    assert at_once(make("us-east-1", lines, {"eia": "eia-key"}.get)).price_source == "table"
    assert lines
    assert not any("eia-key" in line for line in lines)


def test_steps_that_begin_together_ask_once(make: Make, apis: Played) -> None:
    apis.answers[ELECTRICITY_MAPS] = (200, intensities())
    apis.silent.set()
    several = [make() for _ in range(4)]
    for found in several:
        found.ask()
    apis.silent.clear()
    assert [at_once(found).intensity for found in several] == [300] * 4
    assert len(apis.asked) == 1


def test_a_home_that_cannot_be_written_hinders_nothing(make: Make, apis: Played, tmp_path: Path) -> None:
    (tmp_path / "tariffs").write_text("a file")
    lines: list[str] = []
    assert at_once(make(lines=lines)).intensity_source == "table"
    assert "its answer cannot be kept" in lines[0]


def test_an_api_that_gets_its_token_in_the_clear_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = CostSettings(region="us-east-1", electricity_maps="http://maps.example", eia="http://eia.example")
    Tariffs(known, tmp_path)
    assert caplog.messages == []
    Tariffs(known, tmp_path, {"eia": "word"}.get)  # type: ignore[arg-type]
    assert [line.split(",")[0] for line in caplog.messages] == ["a token travels in the clear to eia.example"]
