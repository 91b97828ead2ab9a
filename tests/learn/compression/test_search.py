import math

import pytest

from fleetml.errors import InvalidParameter
from fleetml.learn import parameters
from fleetml.learn.compression import search
from fleetml.learn.compression.search import Target
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.metrics import mase


def test_a_target_is_met_within_the_loss_and_the_graph_says_what_the_figures_say(forecaster):
    data = forecaster("mlp")
    found = search.search(data, Target(0.05, ratio=3), trials=3)
    assert found.met, found.reason
    assert found.reason == ""
    assert found.loss <= 0.05
    assert found.ratio >= 3
    assert found.ratio == pytest.approx(data.original().size_bytes / found.graph.ByteSize())
    forecast = Forecaster(found.graph.SerializeToString()).forecast(data.judged)
    assert mase(data.judged, forecast) == pytest.approx(found.figure)
    assert parameters.KEY not in {prop.key for prop in found.graph.metadata_props}
    assert len(found.points) == 3


def test_a_target_out_of_reach_is_named_and_the_nearest_within_the_loss_is_used(forecaster):
    found = search.search(forecaster("mlp"), Target(0.05, ratio=1000), trials=2)
    assert not found.met
    assert found.loss <= 0.05
    assert found.ratio > 1
    assert found.reason.startswith(
        "best effort: none of 2 chains is 1000 times smaller within a loss of 5.0%; the nearest is "
    )


def test_a_latency_out_of_reach_is_named(forecaster):
    found = search.search(forecaster("mlp"), Target(0.05, latency_ms=1e-6), trials=2)
    assert not found.met
    assert "1e-06 ms" in found.reason


def test_no_loss_allowed_keeps_the_loss_whatever_the_target(forecaster):
    found = search.search(forecaster("mlp"), Target(0.0, ratio=50), trials=2)
    assert found.loss <= 0
    assert not found.met


def test_the_same_seed_and_trials_find_the_same_graph(forecaster, monkeypatch):
    monkeypatch.setattr(search, "_STARTS", search._STARTS[:1])  # the others are what the study proposes
    found = [search.search(forecaster("mlp", 16), Target(0.05), trials=3, seed=3) for _ in range(2)]
    assert found[0].graph.SerializeToString() == found[1].graph.SerializeToString()
    assert [point["params"] for point in found[0].points] == [point["params"] for point in found[1].points]


def test_without_a_network_each_way_to_quantise_is_tried_once(forecaster):
    found = search.search(forecaster("mlp", seconds=0), Target(0.02))
    assert {point["params"]["numbers"] for point in found.points} == {"static", "static_smallest", "mixed", "dynamic"}
    assert found.met


def test_fp16_is_made_where_it_is_asked_for(forecaster):
    found = search.search(forecaster("mlp", seconds=0), Target(0.01), precision="fp16")
    assert found.method == "fp16"
    assert 1.5 < found.ratio < 2.5


@pytest.mark.parametrize("wrong", [{"max_loss": -0.1}, {"max_loss": math.nan}, {"max_loss": 0.1, "ratio": -1}])
def test_a_target_that_is_none_is_refused(wrong):
    with pytest.raises(InvalidParameter, match="must be a number from 0"):
        Target(**wrong)


def test_another_precision_is_refused(forecaster):
    with pytest.raises(InvalidParameter, match="int8, fp16, got 'int4'"):
        search.search(forecaster("mlp", seconds=0), Target(0.02), precision="int4")
