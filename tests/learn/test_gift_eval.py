from pathlib import Path

import numpy as np
import pytest

from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn import gift_eval
from fleetml.learn.gift_eval import Task
from fleetml.learn.metrics import crps, mase

FOLDER = Path(__file__).parents[3] / "shared/data/bitbrains_rnd"
FILE = FOLDER / "gift_2013-07_cpu_5min.parquet"
TINY = Task("tiny", 300, season=4, horizon=3, windows=2)


def test_blocks_lie_one_behind_the_other_and_the_test_at_the_end():
    assert gift_eval.origins(TINY, 30).tolist() == [24, 27]
    assert gift_eval.origins(TINY, 30, block=1).tolist() == [18, 21]


def test_the_seasonal_error_knows_nothing_after_its_place_and_skips_what_is_missing():
    values = np.array([[1, 2, 3, 4, 2, 2, 3, 9, 100.0], [5, 5, 5, 5, 5, np.nan, 6, 5, 5]])
    found = gift_eval.seasonal_errors(values, 4, [4, 7, 8])
    assert np.isnan(found[:, 0]).all(), "there is no season before"
    assert found[0].tolist()[1:] == [1 / 3, 6 / 4]
    assert found[1].tolist()[1:] == [1 / 2, 1 / 3]


def test_windows_keep_gaps_but_for_one_at_their_beginning():
    values = np.arange(1.0, 31)[None].repeat(2, 0)
    values[0, [13, 16, 20]] = np.nan
    windows = gift_eval.cut(values, [18], TINY, context=5)
    np.testing.assert_array_equal(windows.history, [[13, 15, 16, np.nan, 18], [14, 15, 16, 17, 18]])
    np.testing.assert_array_equal(windows.target, [[19, 20, np.nan], [19, 20, 21]])
    assert windows.scale.tolist() == [4, 4]
    assert windows.origin[0] == np.datetime64("2013-06-30T23:25")
    early = gift_eval.cut(values, [3], TINY, context=5)
    assert early.history[0].tolist() == [1, 1, 1, 2, 3]


def test_the_crps_of_what_is_known_is_zero_and_of_one_point_its_error():
    windows = gift_eval.cut(np.arange(1.0, 31)[None], [18], TINY, context=5)
    sure = windows.target[..., None].repeat(9, 2)
    assert crps(windows, sure, gift_eval.LEVELS) == 0
    assert crps(windows, sure + 2, gift_eval.LEVELS) == pytest.approx(6 / (19 + 20 + 21))
    assert crps(windows, sure + 3, [0.9]) == pytest.approx(2 * 0.1 * 9 / 60)


def test_the_worst_five_series_are_told_apart():
    windows = gift_eval.cut(np.arange(1.0, 31)[None].repeat(8, 0), [18, 21], TINY, context=5)
    quantiles = windows.target[..., None].repeat(9, 2)
    quantiles[windows.vm_id < "5"] += 40
    figures = gift_eval.figures(windows, quantiles)
    assert (figures["mase"], figures["mase_without_5"]) == (10 * 5 / 8, 0)


def test_an_unknown_task_and_a_wrong_file_are_refused(tmp_path):
    with pytest.raises(InvalidParameter, match="5T/short"):
        gift_eval.task("5T")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidData, match="gift_2013-07"):
        gift_eval.series(tmp_path / "a.parquet", TINY)


@pytest.mark.parametrize("name", ["5T/short", "H/short"])
def test_the_published_figures_of_the_naive_forecasts_are_reproduced(name):
    """To 2e-4 of the MASE. The CRPS of the seasonal naive: normal, its spread that of its errors on the filled series."""
    if not FILE.exists():
        pytest.skip(f"real data not found: {FILE}")
    from scipy.stats import norm

    task = gift_eval.task(name)
    values = gift_eval.series(FILE, task)
    at = gift_eval.origins(task, values.shape[1])
    windows = gift_eval.cut(values, at, task, task.season)
    filled = gift_eval.forward_filled(values)
    steps = np.arange(task.horizon)
    last = np.concatenate([filled[:, [place - 1]].repeat(task.horizon, 1) for place in at])
    seasonal = np.concatenate([filled[:, place - task.season + steps % task.season] for place in at])
    apart = [filled[:, task.season : place] - filled[:, : place - task.season] for place in at]
    spread = np.concatenate([np.sqrt((part**2).mean(axis=1)) for part in apart])[:, None] * np.sqrt(
        steps // task.season + 1
    )
    quantiles = seasonal[..., None] + spread[..., None] * norm.ppf(gift_eval.LEVELS)
    published = gift_eval.published(FOLDER / "published_gift_eval_results.csv.gz", task)
    assert mase(windows, last) == pytest.approx(published["naive"][0], rel=2e-4)
    assert mase(windows, seasonal) == pytest.approx(published["seasonal_naive"][0], rel=2e-4)
    assert crps(windows, quantiles, gift_eval.LEVELS) == pytest.approx(published["seasonal_naive"][1], rel=2e-3)
    assert not any(name.startswith("Turk") for name in published)
