import dataclasses

import numpy as np
import pytest

from fleetml.learn import tabular_rows
from fleetml.learn.forecaster import awkward
from fleetml.learn.tabular_rows import FLOOR


def symlog(values):
    return np.sign(values) * np.log1p(np.abs(values))


def test_rows_hold_what_numpy_computes(meta, windows):
    some = windows(6)
    some.covariates[2] = np.nan
    found = tabular_rows.rows(some)
    history = some.history.astype(float)
    level = np.sort(history, axis=1)[:, [6]]
    spread = np.abs(history - level).mean(1, keepdims=True) + FLOOR * np.abs(level) + 1e-6
    np.testing.assert_allclose(found.level, level, rtol=1e-5)
    np.testing.assert_allclose(found.spread, spread, rtol=1e-5)
    rows = found.rows.reshape(6, meta.horizon, -1)
    season = symlog((history[:, 6:10] - level) / spread)
    np.testing.assert_allclose(rows[:, :, 0], season, atol=1e-4)
    np.testing.assert_allclose(rows[:, 1, 2], 1 / meta.horizon)
    np.testing.assert_allclose(rows[:, 0, 3], symlog((history[:, -1:] - level) / spread)[:, 0], atol=1e-4)
    known = np.nan_to_num(some.covariates[:, 0])
    np.testing.assert_allclose(rows[:, 0, -2], symlog(known), rtol=1e-5)
    assert rows[:, 0, -1].tolist() == [0, 0, 1, 0, 0, 0]


def test_restoring_a_transformed_target_gives_it_back(windows):
    some = windows(30)
    inside = dataclasses.replace(some, target=some.history[:, :4])
    found = tabular_rows.rows(inside)
    np.testing.assert_allclose(found.restore(found.transform(inside.target), inside.history), inside.target, rtol=1e-4)


def test_a_missing_target_stays_missing(windows):
    some = windows(3)
    some.target[1, 2] = np.nan
    assert np.flatnonzero(np.isnan(tabular_rows.rows(some).transform(some.target))).tolist() == [6]


def test_a_forecast_stays_within_a_spread_of_what_the_history_has_seen(windows):
    some = windows(5)
    found = tabular_rows.rows(some)
    wild = found.restore(np.full(20, 3.0, np.float32), some.history)
    np.testing.assert_allclose(wild, np.repeat(some.history.max(1, keepdims=True) + found.spread, 4, axis=1), rtol=1e-5)


@pytest.mark.parametrize("lengths", [{}, {"horizon": 1}, {"context": 5, "horizon": 9}, {"context": 100}])
def test_rows_of_any_length_and_awkward_history_are_finite(meta, windows, lengths):
    meta = dataclasses.replace(meta, **lengths)
    history, covariates = awkward(meta)
    some = dataclasses.replace(windows(len(history), meta), history=history, covariates=covariates)
    found = tabular_rows.rows(some)
    assert len(found.rows) == len(history) * meta.horizon
    assert np.isfinite(found.rows).all()


def test_weights_are_capped_where_the_scale_is_tiny(windows):
    some = windows(200)
    some.scale[0] = 1e-9
    found = tabular_rows.rows(some)
    weights = tabular_rows.weights(found, some.scale, 0.99)
    assert weights.max() < 100 * np.median(weights)
