import numpy as np
import pytest
import torch

from fleetml.learn.analogs import NEAREST, RECENCY, Analogs, nearest_places

WEEK, HORIZON = 2016, 48


def expected_places(week: np.ndarray, length: int) -> list[int]:
    """The steps after the nearest analogs, by hand: of each six side by side, counted from the latest, the nearest."""
    ends = np.arange(length, WEEK - HORIZON + 1)
    apart = np.array([np.abs(week[end - length : end] - week[-length:]).sum() for end in ends])
    apart += RECENCY * np.arange(len(ends), 0, -1)
    groups = [range(stop - 6, stop) for stop in range(len(ends), 5, -6)]
    best = [min(group, key=lambda place: apart[place]) for group in groups]
    return [int(ends[place]) for place in sorted(best, key=lambda place: apart[place])[: max(NEAREST)]]


def test_the_places_are_the_nearest():
    week = np.random.default_rng(0).uniform(0, 50, WEEK)
    found = nearest_places(torch.from_numpy(week), HORIZON, 1, 24)
    assert found.tolist() == expected_places(week, 24)


def test_a_burst_that_comes_back_at_no_fixed_hour_is_forecast():
    random = np.random.default_rng(1)
    week, place = np.full(WEEK, 2.0), 0
    starts = []
    while (place := place + int(random.integers(70, 130))) < WEEK - 20:
        week[place : place + 3] = 9  # the sign, and an hour later:
        week[place + 12 : place + 20] = 40
        starts.append(place)
    now = np.roll(week, WEEK - 3 - starts[-1])  # three steps into the last burst's sign
    now[:200] = 2.0
    experts = Analogs(WEEK, HORIZON, 12)
    said = experts(torch.from_numpy(now).float()).numpy()
    assert now[-4:].tolist() == [2, 9, 9, 9]
    for number, name in enumerate(experts.names[:4]):
        np.testing.assert_array_equal(said[9:17, number], 40, err_msg=name)
        np.testing.assert_array_equal(said[:9, number], 2, err_msg=name)


def test_the_median_of_what_followed_is_said_for_any_batch():
    weeks = torch.from_numpy(np.random.default_rng(2).uniform(0, 50, (3, 2, WEEK)))
    experts = Analogs(WEEK, HORIZON, 12)
    said = experts(weeks)
    assert said.shape == (3, 2, HORIZON, len(experts.names))
    places = expected_places(weeks[1, 1].numpy(), 12)[:5]
    followed = np.stack([weeks[1, 1].numpy()[place : place + HORIZON] for place in places])
    np.testing.assert_allclose(said[1, 1, :, 0].numpy(), np.median(followed, axis=0))
    torch.testing.assert_close(said[2, 1], experts(weeks[2, 1]))


@pytest.mark.parametrize(("week", "horizon", "lengths"), [(168, 48, [12, 24]), (168, 4, [12, 24, 48]), (84, 48, [])])
def test_a_week_with_too_few_places_has_no_analogs(week, horizon, lengths):
    experts = Analogs(week, horizon, 1)
    assert [count for _, count in experts.kinds] == lengths
    assert experts(torch.zeros(2, week)).shape == (2, horizon, len(lengths) * len(NEAREST))
