import math

import pytest

from fleetml.errors import InvalidParameter
from fleetml.learn import parameters
from fleetml.learn.compression import chains, networks, search
from fleetml.learn.compression.search import Target
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.metrics import mase
from fleetml.learn.study.trial import Pruned


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


def test_the_same_seed_and_trials_find_the_same_bytes_however_fast_the_machine_is(forecaster, monkeypatch):
    monkeypatch.setattr(chains, "STARTS", chains.STARTS[:1])  # the others are what the study proposes
    found = []
    for latency in (1.0, 50.0):
        data = forecaster("mlp", 16, seconds=math.inf)
        data.latency_ms = lambda graph, latency=latency: latency
        found.append(search.search(data, Target(0.05, operations=500), trials=2, seed=3, counted=True))
        assert data.deadline == math.inf, "no clock decides"
    assert found[0].graph.SerializeToString() == found[1].graph.SerializeToString()
    assert [point["params"] for point in found[0].points] == [point["params"] for point in found[1].points]


def test_operations_are_counted_where_a_latency_would_be_measured(forecaster):
    data = forecaster("mlp", seconds=0)
    assert search.search(data, Target(0.05, operations=1e6), counted=True).met
    found = search.search(data, Target(0.05, operations=10), counted=True)
    assert not found.met
    assert "10 operations" in found.reason
    with pytest.raises(InvalidParameter, match=r"measures no latency.*2.*max_operations"):
        search.search(data, Target(0.05, latency_ms=2), counted=True)


def test_a_chain_is_not_gone_on_with_once_the_time_is_over(forecaster, monkeypatch):
    data = forecaster("mlp")
    data.deadline = 0.0
    monkeypatch.setattr(networks, "tuned", lambda *given: pytest.fail("the time was over before it"))
    params = {"shape": "pruned", "width": 0.5, "rank": 1.0, "numbers": "static"}
    with pytest.raises(Pruned, match="time of the search was over"):
        chains.apply(data.original(), params, chains.ends(data.original(), "int8"), data)


def test_a_search_of_no_time_does_its_first_chain_and_tunes_nothing(forecaster):
    data = forecaster("mlp")
    data.tune = lambda *given: pytest.fail("there was no time")
    found = search.search(data, Target(0.05, ratio=1000), seconds=1e-3)
    assert [point["params"]["shape"] for point in found.points] == ["whole"]
    assert not found.met


def test_rows_that_judge_see_what_was_chosen_and_nothing_else(forecaster):
    data, judged = forecaster("mlp", seconds=0), []
    figure = data.figure
    data.figure = lambda graph: judged.append(graph) or figure(graph)
    found = search.search(data, Target(0.05))
    assert len(found.points) > 2
    assert judged == [data.model, found.graph]


def test_what_loses_too_much_on_the_rows_that_judge_is_not_used(forecaster):
    data, judged = forecaster("mlp", seconds=0), []
    data.figure = lambda graph: 1.0 if graph is data.model else judged.append(graph) or 1.1
    found = search.search(data, Target(0.05, ratio=2))
    assert found.graph is data.model
    assert (found.method, found.met, found.loss) == ("none", False, 0.0)
    assert "loses 10.00% on the rows that judge" in found.reason
    assert found.reason.startswith("best effort, the original: ")
    assert len(judged) <= 2, "or the rows that judge would choose"


def test_without_a_network_each_way_to_quantise_is_tried_once(forecaster):
    found = search.search(forecaster("mlp", seconds=0), Target(0.02))
    assert {point["params"]["numbers"] for point in found.points} == set(
        chains.ends(forecaster("mlp").original(), "int8")
    ) - {
        "aware",
        "aware_least",
    }
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
