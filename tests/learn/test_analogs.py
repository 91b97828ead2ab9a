import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from fleetml.learn.analogs import NEAREST, Analogs, nearest_places
from fleetml.learn.builder import OPSET

WEEK, HORIZON = 2016, 48


def expected_places(week: np.ndarray, length: int) -> list[int]:
    """The steps after the nearest analogs, by hand: of each six side by side, counted from the latest, the nearest."""
    ends = np.arange(length, WEEK - HORIZON + 1)
    apart = np.array([np.abs(week[end - length : end] - week[-length:]).sum() for end in ends])
    groups = [range(stop - 6, stop) for stop in range(len(ends), 5, -6)]
    nearest = [min(group, key=lambda place: (apart[place], -place)) for group in groups]
    return [int(ends[place]) for place in sorted(nearest, key=lambda place: (apart[place], -place))[: max(NEAREST)]]


def test_the_places_are_the_nearest():
    week = np.random.default_rng(0).uniform(0, 50, WEEK)
    found = nearest_places(torch.from_numpy(week), HORIZON, 1, 24)
    assert found.tolist() == expected_places(week, 24)


TIED = {
    "on and off": lambda random: np.where(random.random((8, WEEK)) < 0.1, 1000.0, 0.0),
    "integers": lambda random: random.integers(0, 4, (8, WEEK)) * 100.0,
    "constant": lambda random: np.full((8, WEEK), 64.0),
}


@pytest.mark.parametrize("kind", TIED)
def test_of_equals_the_latest_are_taken_by_torch_and_by_the_graph(kind, tmp_path):
    weeks = torch.from_numpy(TIED[kind](np.random.default_rng(3)).astype(np.float32))
    for week in weeks:
        assert nearest_places(week, HORIZON, 1, 12).tolist() == expected_places(week.numpy().astype(float), 12)
    experts = Analogs(WEEK, HORIZON, 12)
    torch.onnx.export(experts, (weeks,), tmp_path / "graph.onnx", dynamo=False, opset_version=OPSET)
    session = InferenceSession(tmp_path / "graph.onnx")
    (said,) = session.run(None, {session.get_inputs()[0].name: weeks.numpy()})
    np.testing.assert_array_equal(said, experts(weeks).numpy())


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
