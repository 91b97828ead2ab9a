import dataclasses
import math

import numpy as np
import pytest
import torch

from fleetml.learn import export, search_space, tabular_trainer, training
from fleetml.learn.architectures import Architecture
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.graph import InvalidGraph, describe
from fleetml.learn.neural import Network
from fleetml.learn.neural_bodies import BODIES
from fleetml.learn.neural_trainer import NeuralTrainer
from fleetml.learn.search import TooSlow
from fleetml.learn.tabular_trainer import TabularTrainer


@pytest.mark.parametrize("family", BODIES)
@pytest.mark.parametrize("lengths", [{}, {"horizon": 1}, {"covariates": ()}])
def test_a_network_and_its_graph_forecast_the_same_for_any_batch(meta, windows, family, lengths):
    meta = dataclasses.replace(meta, **lengths)
    network = Network(meta, Architecture(family, 8, 2, dropout=0.5))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model = export.from_torch(network, meta, {"width": 8})
    for count in (1, 7):
        some = windows(count, meta)
        some.covariates[:1] = np.nan
        assert export.check_equal(model, some, training.predict(network, some)) < 1e-5
    assert describe(model).hyperparameters == {"width": 8}
    assert {opset.domain for opset in model.opset_import} == {""}


def test_a_graph_of_another_model_is_refused(meta, windows):
    network = Network(meta, Architecture("mlp", 8, 1))
    model = export.from_torch(network, meta, {})
    some = windows()
    with pytest.raises(InvalidGraph, match="the conversion changed the model"):
        export.check_equal(model, some, training.predict(network, some) * 1.1)
    with pytest.raises(InvalidGraph):
        export.check_equal(model, some, np.full_like(some.target, math.nan))


@pytest.mark.parametrize("family", TabularTrainer.families)
def test_a_tabular_candidate_is_judged_as_its_graph(windows, family):
    trainer = TabularTrainer(windows(200), windows(50, seed=1), seed=0)
    chosen = search_space.defaults(trainer.families[family])
    candidate = trainer.train(family, chosen, math.inf, lambda epoch, score: None)
    assert describe(candidate.graph).family == candidate.family == family
    domains = [opset.domain for opset in candidate.graph.opset_import]
    assert len(domains) == len(set(domains)), "the quantiser wants one version of each"
    assert candidate.hyperparameters == chosen
    again = trainer.train(family, chosen, math.inf, lambda epoch, score: None)
    assert again.graph.SerializeToString() == candidate.graph.SerializeToString()
    forecast = Forecaster(candidate.graph.SerializeToString()).forecast(trainer.val)
    assert candidate.validation_mase == pytest.approx(
        float((np.abs(forecast - trainer.val.target).mean(1) / trainer.val.scale).mean()), rel=1e-4
    )


def test_rows_are_bounded_whatever_the_number_of_windows(windows, monkeypatch):
    monkeypatch.setattr(tabular_trainer, "_MAX_WINDOWS", 100)
    monkeypatch.setattr(tabular_trainer, "MAX_ROWS", 150)
    assert len(TabularTrainer(windows(300), windows(), 0).table.target) == 150


def test_a_network_too_slow_is_never_trained(windows):
    trainer = NeuralTrainer(windows(), windows(), 0, latency_limit_ms=1e-6)
    epochs = []
    with pytest.raises(TooSlow):
        trainer.train("mlp", search_space.defaults(trainer.families["mlp"]), math.inf, lambda e, s: epochs.append(e))
    assert epochs == []
