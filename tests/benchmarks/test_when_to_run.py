"""What the benchmark of waiting takes for known, and when it asks."""

from datetime import UTC, datetime

from benchmarks import when_to_run


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_prices_are_known_to_the_end_of_the_day_and_from_13_h_to_that_of_the_next() -> None:
    assert when_to_run.auctioned(at("2018-03-05T12:59:59")) == at("2018-03-06T00:00:00")
    assert when_to_run.auctioned(at("2018-03-05T13:00:00")) == at("2018-03-07T00:00:00")


def test_intensities_are_known_of_hours_that_are_over() -> None:
    assert when_to_run.measured(at("2018-03-05T12:59:59")) == at("2018-03-05T12:00:00")
    assert when_to_run.measured(at("2018-03-05T13:00:00")) == at("2018-03-05T13:00:00")


def test_the_weekly_run_is_asked_for_on_mondays_at_three() -> None:
    assert when_to_run._monday(at("2018-01-01T00:00:00")) == at("2018-01-01T03:00:00")
    assert when_to_run._monday(at("2018-01-01T00:00:01")) == at("2018-01-08T03:00:00")
