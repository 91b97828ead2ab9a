"""Quantiles on series whose noise is known: they cover what they promise."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import onnx
import pytest

from fleetml.learn import conformal, graph, quantile_head
from fleetml.learn.baselines import BASELINES
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.mixture_candidate import FAMILY
from fleetml.learn.quantiles import LEVELS
from fleetml.learn.windows import Meta, Windows

META = Meta(context=48, horizon=12, season=24)


def series(count: int, seed: int = 0, walk: bool = False) -> Windows:
    """Windows of VMs whose levels and noises lie far apart; the noise is new at each step, or adds up to a random walk."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 1, (count, META.context + META.horizon))
    if walk:
        noise = noise.cumsum(axis=1)
    level = 10 ** random.uniform(1, 4, (count, 1))
    values = (20 * level + level * noise).astype(np.float32)
    return Windows(
        vm_id=np.array([f"vm-{row % 20}" for row in range(count)]),
        origin=np.arange(count).astype("datetime64[us]"),
        history=values[:, : META.context],
        covariates=np.empty((count, 0), np.float32),
        target=values[:, META.context :],
        scale=np.ones(count, np.float32),
        meta=META,
    )


def last_value() -> onnx.ModelProto:
    return BASELINES["last_value"](META)


def below(model: onnx.ModelProto, windows: Windows) -> np.ndarray:
    """The share of what was measured that lies below each quantile, by step [horizon, levels]."""
    said = Forecaster(model.SerializeToString()).quantiles(windows.history, windows.covariates)
    return (windows.target[..., None] <= said).mean(axis=0)


@pytest.mark.parametrize("walk", [False, True])
def test_each_level_covers_its_share_of_windows_that_nothing_saw(walk: bool) -> None:
    shares = below(conformal.calibrated(last_value(), series(600, walk=walk)), series(4000, 1, walk))
    assert np.abs(shares.mean(axis=0) - LEVELS).max() < 0.03
    assert np.abs(shares - LEVELS).max() < 0.08, "at each step of the horizon"


def test_the_spread_grows_with_the_horizon_as_errors_do() -> None:
    grown = {}
    for walk in (False, True):
        val = series(600, walk=walk)
        forecast = Forecaster(last_value().SerializeToString()).forecast(val)
        grown[walk] = conformal.offsets(val, forecast).growth
    assert grown == {False: 0.0, True: pytest.approx(0.5, abs=0.101)}


def test_the_forecast_stays_and_is_the_quantile_in_the_middle() -> None:
    model, some = last_value(), series(50, 2)
    made = Forecaster(conformal.calibrated(model, series(100)).SerializeToString())
    forecast = made.forecast(some)
    assert np.array_equal(forecast, Forecaster(model.SerializeToString()).forecast(some))
    said = made.quantiles(some.history, some.covariates)
    assert np.array_equal(said[..., LEVELS.index(0.5)], forecast)
    assert (np.diff(said, axis=-1) > 0).all()


def test_a_quantile_is_never_negative() -> None:
    low = replace(series(200), history=series(200).history % 3, target=series(200).target % 3)
    said = Forecaster(conformal.calibrated(last_value(), low).SerializeToString()).quantiles(
        low.history, low.covariates
    )
    assert (said >= 0).all()
    assert (said == 0).any()


def test_of_too_few_windows_the_outer_quantiles_are_the_widest_that_was_seen() -> None:
    val = series(3)
    forecast = Forecaster(last_value().SerializeToString()).forecast(val)
    found = conformal.offsets(val, forecast)
    seen = (val.target - forecast) / (quantile_head.spread(val.history) + found.floor)[:, None]
    seen = seen / quantile_head.grown(META.horizon, found.growth)
    # .9 of four windows, of which one is beyond all, is beyond the three
    assert found.values[-2:] == (max(0.0, seen.max()),) * 2
    assert found.values[:2] == (min(0.0, seen.min()),) * 2
    assert 0 < found.values[LEVELS.index(0.6)] < found.values[-1]


def test_few_windows_cover_no_less_than_was_promised() -> None:
    """Over many calibrations on ten windows, what is promised holds on the mean."""
    test = series(400, 99)
    inside = []
    for seed in range(40):
        shares = below(conformal.calibrated(last_value(), series(10, seed)), test).mean(axis=0)
        inside.append(shares[-1] - shares[0])
    assert 0.8 <= np.mean(inside) < 0.97


def test_steps_that_were_not_measured_do_not_count() -> None:
    whole = series(100)
    holes = replace(whole, target=np.where(np.arange(12) % 3 == 0, np.nan, whole.target).astype(np.float32))
    shares = below(conformal.calibrated(last_value(), holes), series(2000, 1)).mean(axis=0)
    assert np.abs(shares - LEVELS).max() < 0.06


def test_without_a_measured_target_nothing_is_promised(caplog: pytest.LogCaptureFixture) -> None:
    nothing = replace(series(5), target=np.full((5, META.horizon), np.nan, np.float32))
    with caplog.at_level(logging.WARNING):
        made = conformal.calibrated(last_value(), nothing)
    assert graph.describe(made).quantiles == ()
    assert "no validation window has a measured target" in caplog.text


def test_a_graph_of_an_old_opset_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    old = last_value()
    old.opset_import[0].version = 11
    assert conformal.calibrated(old, series(5)) is old
    assert "its opset is 11, they take 13" in caplog.text


def test_the_standard_domain_goes_by_its_long_name_too() -> None:
    model = last_value()
    model.opset_import[0].domain = "ai.onnx"
    assert graph.describe(conformal.calibrated(model, series(100))).quantiles == LEVELS


def test_vms_that_stand_still_have_no_spread_and_an_honest_band() -> None:
    still = replace(series(40), history=np.full((40, META.context), 7, np.float32))
    target = np.full((40, META.horizon), 7, np.float32)
    target[::4] = 9
    made = conformal.calibrated(last_value(), replace(still, target=target))
    said = Forecaster(made.SerializeToString()).quantiles(still.history, still.covariates)
    assert said[0, 0].tolist() == [7, 7, 7, 7, 7, 7, 7, 9, 9]


def test_calibrating_again_is_calibrating_anew() -> None:
    first = conformal.calibrated(last_value(), series(100))
    again = conformal.calibrated(first, series(300, 5))
    assert again.SerializeToString() == conformal.calibrated(last_value(), series(300, 5)).SerializeToString()
    told = {entry.key: entry.value for entry in again.metadata_props}
    assert json.loads(told["fleetml.calibration"])["windows"] == 300


def test_a_family_that_says_quantiles_of_its_own_keeps_them() -> None:
    own = last_value()
    own.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "last"))
    own.graph.node.append(onnx.helper.make_node("Unsqueeze", ["forecast", "last"], ["quantiles"]))
    shape = ["batch", META.horizon, 1]
    own.graph.output.append(onnx.helper.make_tensor_value_info("quantiles", onnx.TensorProto.FLOAT, shape))
    finished = graph.finish(own, META, FAMILY, quantiles=(0.5,))
    assert conformal.calibrated(finished, series(100)) is finished
