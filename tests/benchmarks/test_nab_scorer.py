"""NAB's score: the formulas by hand, then the published figures of the windowed Gaussian, series by series."""

import numpy as np
import pytest

from benchmarks.nab_scorer import PROFILES, Labelled, Weights, at, best
from benchmarks.nab_series import REAL, published, read, windowed_gaussian

STANDARD = PROFILES["standard"]
SERIES = Labelled(200, [(60, 79), (120, 139)])


def alarms(*steps: int) -> np.ndarray:
    score = np.zeros(SERIES.length)
    score[list(steps)] = 1.0
    return score


def test_no_alarm_is_0_and_one_at_the_start_of_each_window_100() -> None:
    assert best([SERIES], [np.zeros(200)], STANDARD).normalised == pytest.approx(0.0)
    assert best([SERIES], [alarms(60, 120)], STANDARD).normalised == pytest.approx(100.0)


def test_of_several_alarms_in_a_window_the_best_counts_and_a_missed_window_costs() -> None:
    late = (2 / (1 + np.exp(-5 / 20)) - 1) / (2 / (1 + np.exp(-5)) - 1)
    assert at(1.0, SERIES, alarms(79), STANDARD) == pytest.approx(late - 1)
    assert at(1.0, SERIES, alarms(60, 65, 79), STANDARD) == pytest.approx(1 - 1)
    assert at(1.0, SERIES, alarms(60), Weights(missed=2.0)) == pytest.approx(1 - 2)


@pytest.mark.parametrize(
    ("step", "cost"), [(40, 1.0), (80, np.tanh(2.5 / 19)), (99, np.tanh(2.5 * 20 / 19)), (190, np.tanh(2.5 * 51 / 19))]
)
def test_a_false_alarm_costs_the_more_the_farther_behind_a_window(step: int, cost: float) -> None:
    assert at(1.0, SERIES, alarms(step), STANDARD) == pytest.approx(-2 - 0.11 * cost)


def test_nothing_counts_in_probation() -> None:
    assert SERIES.probation == 30
    assert at(1.0, SERIES, alarms(*range(30)), STANDARD) == -2


def test_the_best_threshold_is_the_one_of_all() -> None:
    drawn = np.random.default_rng(0)
    series = [SERIES, Labelled(300, [(100, 130)]), Labelled(150, [])]
    scores = [np.round(drawn.random(one.length), 2) for one in series]
    each = [
        sum(at(t, s, x, STANDARD) for s, x in zip(series, scores, strict=True))
        for t in np.unique(np.concatenate(scores))
    ]
    assert best(series, scores, STANDARD).raw == pytest.approx(max(-3.0, *each))


def test_without_a_window_there_is_nothing_to_find() -> None:
    with pytest.raises(ValueError, match="a window"):
        best([Labelled(10, [])], [np.zeros(10)], STANDARD)


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/nab")
def test_the_windowed_gaussian_gets_its_published_figures() -> None:
    series = list(read())
    scores = [windowed_gaussian(one.values) for one in series]
    labels = [one.labels for one in series]
    wanted = {"standard": 39.649523496, "reward_low_FP_rate": 20.867985825, "reward_low_FN_rate": 47.410027158}
    for profile, figure in wanted.items():
        assert best(labels, scores, PROFILES[profile]).normalised == pytest.approx(figure, abs=1e-6)
    theirs = published("windowedGaussian")
    for one, score in zip(series, scores, strict=True):
        assert at(1.0, one.labels, score, STANDARD) == pytest.approx(theirs[one.name], abs=1e-6), one.name
