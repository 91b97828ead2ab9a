import dataclasses

import numpy as np
import pytest

from fleetml.learn import tabular_rows
from fleetml.learn.forecaster import awkward
from fleetml.learn.tabular_rows import FLOOR
from fleetml.learn.windows import Meta


def symlog(values):
    return np.sign(values) * np.log1p(np.abs(values))


def test_rows_hold_what_numpy_computes(meta, windows):
    some = windows(6)
    some.covariates[2] = np.nan
    found = tabular_rows.rows(some, seasonal=False)
    history = some.history.astype(float)
    level = np.sort(history, axis=1)[:, [6]]
    spread = np.abs(history - level).mean(1, keepdims=True) + FLOOR * np.abs(level) + 1e-6
    np.testing.assert_allclose(found.base, np.repeat(level, meta.horizon, axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.spread, spread, rtol=1e-5)
    rows = found.rows.reshape(6, meta.horizon, -1)
    season = symlog((history[:, 6:10] - level) / spread)
    np.testing.assert_allclose(rows[:, :, 0], season, atol=1e-4)
    np.testing.assert_allclose(rows[:, 1, 2], 1 / meta.horizon)
    np.testing.assert_allclose(rows[:, 0, 3], symlog((history[:, -1:] - level) / spread)[:, 0], atol=1e-4)
    known = np.nan_to_num(some.covariates[:, 0])
    np.testing.assert_allclose(rows[:, 0, -2], symlog(known), rtol=1e-5)
    assert rows[:, 0, -1].tolist() == [0, 0, 1, 0, 0, 0]


def test_some_rows_are_those_of_all_whichever_part_they_were_computed_in(windows, monkeypatch):
    some = windows(7)
    whole = tabular_rows.rows(some, seasonal=True)
    monkeypatch.setattr(tabular_rows, "_CHUNK", 3)
    wanted = np.array([0, 5, 11, 12, 27])
    found = tabular_rows.some_rows(some, True, wanted)
    np.testing.assert_allclose(found.rows, whole.rows[wanted], atol=1e-6)  # the order of sums is that of a part
    np.testing.assert_allclose(found.base, whole.base, rtol=1e-6)
    np.testing.assert_allclose(found.spread, whole.spread, rtol=1e-6)


def test_the_seasonal_base_is_the_smoothed_season_before(meta, windows):
    some = windows(6)
    found = tabular_rows.rows(some, seasonal=True)
    # Places 6 to 9 of 12, each averaged over what is there of six steps to either side.
    for step, (low, high) in enumerate([(0, 12), (1, 12), (2, 12), (3, 12)]):
        np.testing.assert_allclose(found.base[:, step], some.history[:, low:high].mean(1), rtol=1e-4)


def test_a_daily_curve_is_recognised_and_noise_is_not(windows):
    meta = Meta(context=288, horizon=48)
    curve = 50 + 40 * np.sin(2 * np.pi * (np.arange(336) + np.arange(0, 300, 10)[:, None]) / 288).astype(np.float32)
    daily = dataclasses.replace(windows(30, meta), history=curve[:, :288], target=curve[:, 288:])
    assert tabular_rows.is_seasonal(daily)
    flat = windows(200, meta).history * 0 + np.random.default_rng(0).choice([1, 1, 1, 1, 9], (200, 288))
    bursts = dataclasses.replace(windows(200, meta), history=flat.astype(np.float32), target=flat[:, :48] * 0 + 1)
    assert not tabular_rows.is_seasonal(bursts)


@pytest.mark.parametrize("seasonal", [False, True])
def test_restoring_a_transformed_target_gives_it_back(windows, seasonal):
    some = windows(30)
    inside = dataclasses.replace(some, target=some.history[:, :4])
    found = tabular_rows.rows(inside, seasonal)
    np.testing.assert_allclose(found.restore(found.transform(inside.target), inside.history), inside.target, rtol=1e-4)


def test_a_missing_target_stays_missing(windows):
    some = windows(3)
    some.target[1, 2] = np.nan
    assert np.flatnonzero(np.isnan(tabular_rows.rows(some, False).transform(some.target))).tolist() == [6]


def test_a_forecast_stays_within_a_spread_of_what_the_history_has_seen(windows):
    some = windows(5)
    found = tabular_rows.rows(some, False)
    wild = found.restore(np.full(20, 3.0, np.float32), some.history)
    np.testing.assert_allclose(wild, np.repeat(some.history.max(1, keepdims=True) + found.spread, 4, axis=1), rtol=1e-5)


@pytest.mark.parametrize("lengths", [{}, {"horizon": 1}, {"context": 5, "horizon": 9}, {"context": 100}])
def test_rows_of_any_length_and_awkward_history_are_finite(meta, windows, lengths):
    meta = dataclasses.replace(meta, **lengths)
    history, covariates = awkward(meta)
    some = dataclasses.replace(windows(len(history), meta), history=history, covariates=covariates)
    found = tabular_rows.rows(some, False)
    assert len(found.rows) == len(history) * meta.horizon
    assert np.isfinite(found.rows).all()


def test_weights_are_capped_where_the_scale_is_tiny(windows):
    some = windows(200)
    some.scale[0] = 1e-9
    found = tabular_rows.rows(some, False)
    weights = tabular_rows.weights(found, some.scale, 0.99)
    assert weights.max() < 100 * np.median(weights)
