"""What is expected of an hour: what is known of it, else a forecast of what was known."""

import pytest

from fleetml.cost.ahead import expect
from fleetml.cost.series import HOUR, Series

DAY = 24 * HOUR
START = 1_700_006_400  # a midnight


def days(*shapes: float, count: int = 20) -> dict[int, float]:
    """Return `count` days, the hour h of which is h, on each day times the next of `shapes`."""
    return {START + d * DAY + h * HOUR: h * shapes[d % len(shapes)] for d in range(count) for h in range(24)}


def test_a_day_like_those_before_is_expected() -> None:
    expected = expect(Series("r", "intensity", "g/kWh", "test", days(1.0)), START + 20 * DAY)
    assert [expected(START + 20 * DAY + h * HOUR) for h in range(48)] == pytest.approx([*range(24)] * 2)


def test_what_is_known_is_taken_as_it_is() -> None:
    values = {**days(1.0), START + 19 * DAY: 99.0}
    assert expect(Series("r", "intensity", "g/kWh", "test", values), START + 20 * DAY)(START + 19 * DAY) == 99.0


@pytest.mark.parametrize("known", [START + 17 * DAY + 5 * HOUR, START + 17 * DAY + 4 * HOUR + 1])
def test_nothing_that_comes_later_changes_what_is_expected(known: int) -> None:
    values = days(1.0, 1.5, 0.5)
    changed = {hour: value if hour < known else -value - 7 for hour, value in values.items()}
    one, other = (expect(Series("r", "intensity", "g/kWh", "test", each), known) for each in (values, changed))
    asked = range(START, START + 20 * DAY, HOUR)
    assert [one(hour) for hour in asked] == [other(hour) for hour in asked]


def test_how_far_the_last_value_is_off_persists_and_fades() -> None:
    values = {**days(1.0), START + 19 * DAY + 23 * HOUR: 123.0}
    expected = expect(Series("r", "intensity", "g/kWh", "test", values), START + 20 * DAY)
    assert expected(START + 20 * DAY) == pytest.approx(0 + 95.0)
    assert expected(START + 20 * DAY + 10 * HOUR) == pytest.approx(10 + 100 * 0.95**11)


def test_a_gap_is_filled_as_the_future_is() -> None:
    values = {hour: value for hour, value in days(1.0).items() if hour != START + 19 * DAY + 4 * HOUR}
    assert expect(Series("r", "price", "EUR/kWh", "test", values), START + 20 * DAY)(START + 19 * DAY + 4 * HOUR) == 4


def test_without_hours_the_value_of_all_others_is_expected_or_none() -> None:
    assert expect(Series("r", "price", "EUR/kWh", "test", otherwise=0.2), START)(START) == 0.2
    assert expect(Series("r", "price", "EUR/kWh", "test"), START)(START) is None
