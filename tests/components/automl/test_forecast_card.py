"""The page of a search of forecasters, of a search without an ensemble."""

import math

import onnx

from components.automl import forecast_card
from components.automl.forecasts import Joined, Limits
from fleetml.learn import search
from fleetml.learn.leaderboard import Outcome, Result
from tests.small_graphs import META, forecaster


def test_what_nobody_measured_is_left_empty_and_not_told_as_nan(windows):
    train, val = windows(60, META), windows(20, META, seed=1)
    best = search.judged(onnx.load_from_string(forecaster(META)), val)
    lines = [
        Outcome(0, best.family, "{}", "trained", best.validation_mase, 1.0, best.size_bytes, 0.1, ""),
        Outcome(1, "linear", "{}", "failed", math.nan, 1.0, 0, 0.0, "MemoryError"),
    ]
    joined = Joined(reason="there is no second model")
    page = forecast_card.render(Result(best, lines), joined, train, val, Limits(5.0, 2e7), {}, 0)
    assert "<th>ensemble on later windows<td><" in page
    assert "<td>nan" not in page
    assert joined.reason in page
    told = forecast_card.render(Result(best, lines), Joined(later=(0.5, 0.625)), train, val, Limits(5.0, 2e7), {}, 0)
    assert "<th>ensemble on later windows<td>0.625" in told
