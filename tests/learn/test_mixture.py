import dataclasses

import numpy as np
import pytest
import torch

from fleetml.errors import InvalidParameter
from fleetml.learn import export, graph
from fleetml.learn.experts import Experts, Memory, Trials, fill
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.mixture import Mixture, weighted_median
from fleetml.learn.quantiles import LEVELS
from fleetml.learn.windows import Meta
from fleetml.serving import deployment
from fleetml.serving.client import Client
from fleetml.serving.deployment import Card

MEMORY = Memory(past=3, stride=4, reach=4)
META = Meta("cpu", 1200, context=MEMORY.context(24), horizon=4, season=24)
WEEK = 7 * 24


def histories(count: int = 6) -> np.ndarray:
    random = np.random.default_rng(0)
    day = 50 + 30 * np.sin(2 * np.pi * np.arange(META.context) / META.season)
    return (day + random.normal(0, 3, (count, META.context))).astype(np.float32).clip(0)


def made(meta: Meta = META, memory: Memory = MEMORY):
    return export.from_torch(Mixture(meta, memory), meta, {}, LEVELS)


def nothing(rows: int) -> np.ndarray:
    return np.empty((rows, 0), np.float32)


def test_gaps_are_filled_with_what_was_before_them_else_after_them():
    nan = float("nan")
    history = torch.tensor([[nan, nan, 3, nan, nan, nan, 7, nan], [nan] * 8])
    assert fill(history).tolist() == [[3, 3, 3, 3, 3, 3, 7, 7], [0] * 8]


def test_the_experts_are_what_their_names_say():
    week = np.random.default_rng(1).uniform(0, 9, WEEK)
    experts = Experts(META)
    said = experts(torch.from_numpy(week)).numpy()
    found = {name: said[:, place] for place, name in enumerate(experts.names)}
    days, hours = week.reshape(7, 24), week.reshape(-1, 3)
    profile, present = np.median(days, axis=0), np.median(week[-12:])
    expected = {
        "last": week[-1],
        "day before": days[-1][:4],
        "week before": days[0][:4],
        "median of 6 steps": np.median(week[-6:]),
        "median of 168 steps": np.median(week),
        "quantile 0.9 of a day": np.quantile(days[-1], 0.9),
        "median of 3 days": np.median(days[-3:], axis=0)[:4],
        "median of 7 days at the present level": profile[:4] + present - np.median(profile[-12:]),
        "between the median of 7 days and the present level": (profile[:4] + present) / 2,
        "lower quartile of 7 days": np.quantile(days, 0.25, axis=0)[:4],
        "median of 6 hours": np.tile(np.median(hours[-6:], axis=0), 2)[:4],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], np.broadcast_to(values, 4), rtol=1e-6, err_msg=name)


def test_a_horizon_beyond_a_season_repeats_it():
    experts = Experts(dataclasses.replace(META, horizon=60))
    said = experts(torch.from_numpy(histories(1)[:, -WEEK:])).numpy()[0]
    other = ("week", "fading", "analogs")
    daily = [place for place, name in enumerate(experts.names) if not any(word in name for word in other)]
    np.testing.assert_array_equal(said[24:48, daily], said[:24, daily])
    assert (said[24:48] != said[:24]).any()
    assert said.shape == (60, experts.count)


def test_a_context_that_is_too_short_is_refused():
    with pytest.raises(InvalidParameter, match="180 steps, got 100"):
        Mixture(dataclasses.replace(META, context=100), MEMORY)


def test_a_step_that_is_missing_is_not_scored():
    history = histories(1)
    clean = Trials(META, MEMORY)(torch.from_numpy(history))
    gap = history.copy()
    gap[0, -4:] = np.nan
    errors, known = (part.numpy() for part in Trials(META, MEMORY)(torch.from_numpy(gap))[1:])
    assert known[0, :, 0].tolist() == [1, 1, 0]
    np.testing.assert_array_equal(errors[0, :2], clean[1].numpy()[0, :2])


def test_the_weighted_median_follows_the_weight_and_ignores_outliers():
    values = torch.tensor([[5.0, 1.0, 9.0, 3.0, 1e6]])
    little = torch.tensor([[0.24, 0.24, 0.24, 0.24, 0.04]])
    assert 3 < weighted_median(values, little).item() < 6, "the mean would be 40,000"
    sure = torch.tensor([[0.01, 0.01, 0.96, 0.01, 0.01]])
    assert weighted_median(values, sure).item() == pytest.approx(9, abs=1e-4)


def test_the_order_among_equals_does_not_matter():
    values, weights = torch.tensor([[2.0, 2.0, 5.0, 1.0]]), torch.tensor([[0.1, 0.5, 0.2, 0.2]])
    turned = [1, 0, 2, 3]
    assert weighted_median(values, weights).item() == pytest.approx(weighted_median(values, weights[:, turned]).item())


def test_the_expert_that_was_right_lately_decides():
    history = np.tile(np.arange(24, dtype=np.float32), META.context // 24 + 1)[None, -META.context :]
    forecast, quantiles = Mixture(META, MEMORY)(torch.from_numpy(history), torch.empty(1, 0))
    np.testing.assert_allclose(forecast.numpy()[0], history[0, -24:-20], atol=1e-4)
    np.testing.assert_allclose(quantiles.numpy()[0, :, :8], forecast.numpy()[0][:, None].repeat(8, 1), atol=1e-4)


def test_the_graph_forecasts_what_torch_does_with_gaps_and_for_any_batch():
    model = made()
    assert graph.check(model).quantiles == LEVELS
    history = histories()
    history[1, 50:90] = np.nan
    history[2, -7:] = np.nan
    history[3] = np.nan
    with torch.no_grad():
        said = [part.numpy() for part in Mixture(META, MEMORY).eval()(torch.from_numpy(history), torch.empty(6, 0))]
    forecaster = Forecaster(model.SerializeToString())
    for rows in (1, 6):
        np.testing.assert_allclose(forecaster.predict(history[:rows], nothing(rows)), said[0][:rows], rtol=1e-5)
        found = forecaster.quantiles(history[:rows], nothing(rows))
        np.testing.assert_allclose(found, said[1][:rows], rtol=1e-4, atol=1e-4)
    assert (np.diff(said[1], axis=-1) >= 0).all()
    np.testing.assert_array_equal(said[1][..., LEVELS.index(0.5)], said[0])


def test_the_quantiles_are_wide_where_the_experts_disagree():
    random = np.random.default_rng(0)
    noise = np.stack([np.full(META.context, 50), 50 + random.normal(0, 5, META.context)]).astype(np.float32)
    said = Mixture(META, MEMORY)(torch.from_numpy(noise), torch.empty(2, 0))[1].numpy()
    spread = said[..., -1] - said[..., 0]
    np.testing.assert_allclose(spread[0], 0, atol=1e-4)
    assert (spread[1] > 2).all()


def test_quantiles_that_do_not_fit_the_contract_are_refused():
    model = made()
    for levels, message in (((0.1, 0.5), "quantiles"), ((0.5, 0.1), "must rise"), ((0.1, 0.9), "hold 0.5")):
        with pytest.raises(InvalidGraph, match=message):
            graph.finish(model, META, "mixture", {}, levels)
    with pytest.raises(InvalidGraph, match="output"):
        graph.finish(model, META, "mixture", {})


def test_quantiles_that_fall_are_refused():
    class Falling(Mixture):
        def forward(self, history, covariates):
            forecast, quantiles = super().forward(history, covariates)
            return forecast, torch.flip(quantiles, [2])

    with pytest.raises(InvalidGraph, match="rise along their last axis"):
        export.from_torch(Falling(META, MEMORY), META, {}, LEVELS)


def test_the_server_serves_it(tmp_path, serve):
    path = tmp_path / "mixture.onnx"
    path.write_bytes(made().SerializeToString())
    root = tmp_path / "serving"
    deployment.install(root, Card("cpu", "1", deployment.digest(path), mase=0.7), {deployment.GRAPH: path})
    deployment.point(root, "cpu", "1")
    history = histories(1)
    answer = Client(serve(root)).forecast("cpu", "vm-1", history[0].tolist(), 80)
    expected = Forecaster(path).predict(history, nothing(1))[0]
    np.testing.assert_allclose(answer.values, expected, rtol=1e-5)
