"""What one trial of a stage may take."""

import math
import time

import pytest
from optuna.distributions import FloatDistribution

from fleetml.learn.study.limits import of_search
from fleetml.learn.study.loop import run
from fleetml.learn.study.settings import StudySettings

SPACE = {"x": FloatDistribution(0.0, 1.0)}


@pytest.mark.parametrize(
    ("trials", "seconds", "told", "ended"),
    [(8, 30, 10, 25), (6, 40, 40 / 3, 85 / 3), (20, 900, 300, 450), (1, 60, 60, 75)],
)
def test_a_trial_that_hangs_leaves_time_for_others(trials, seconds, told, ended):
    limits = StudySettings(trials, seconds, **of_search(trials, seconds, 100, counted=False))
    assert limits.isolated
    assert limits.trial_seconds == pytest.approx(told)
    assert limits.trial_seconds + limits.spare_seconds == pytest.approx(ended)
    assert trials == 1 or ended < seconds


def test_no_clock_of_the_study_ends_a_counted_trial():
    limits = of_search(2, 0.05, 0, counted=True)
    assert limits["trial_seconds"] == 3600.0
    assert of_search(2, 1000.0, 0, counted=True)["trial_seconds"] == 10_000.0

    def objective(trial):
        time.sleep(0.2)
        return trial.deadline - time.monotonic()

    found = run(objective, SPACE, StudySettings(2, 0.05, **limits))
    assert [each.state for each in found.outcomes] == ["complete"]
    assert found.best.value > 3000


def test_a_search_without_an_end_waits_an_hour_for_a_trial():
    assert of_search(2, math.inf, 0, counted=False)["trial_seconds"] == 3600.0
