import math

import numpy as np
import pytest
import torch

from fleetml.learn import training
from fleetml.learn.architectures import Architecture
from fleetml.learn.neural import Network
from fleetml.learn.training import Examples, Recipe


@pytest.fixture
def network(meta):
    torch.manual_seed(0)
    return Network(meta, Architecture("mlp", 16, 1))


def test_validation_is_the_mase_of_the_metrics_module(network, windows):
    from fleetml.learn import metrics

    some = windows(50)
    some.target[3, 1:] = np.nan
    some.target[4] = np.nan
    some.scale[5] = 0
    expected = metrics.mase(some, training.predict(network, some))
    assert training.validate(network, Examples.of(some)) == pytest.approx(expected, rel=1e-5)


def test_training_improves_and_keeps_the_best_epoch(network, windows):
    train, val = Examples.of(windows(400)), Examples.of(windows(100, seed=1))
    before, scores = training.validate(network, val), []
    best = training.fit(network, train, val, Recipe(), 0, report=lambda epoch, score: scores.append(score))
    assert best < before
    assert best == min(scores) == pytest.approx(training.validate(network, val))
    assert len(scores) == Recipe().epochs


def test_missing_targets_do_not_spoil_the_weights(network, windows):
    some = windows(200)
    some.target[::2, 1:] = np.nan
    training.fit(network, Examples.of(some), Examples.of(some), Recipe(epochs=2), 0)
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


def test_the_same_seed_gives_the_same_network(meta, windows):
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        network = Network(meta, Architecture("gru", 8, 1, dropout=0.2))
        found.append(training.fit(network, Examples.of(windows()), Examples.of(windows()), Recipe(epochs=3), 3))
    assert found[0] == found[1]


def test_a_deadline_in_the_past_allows_one_epoch(network, windows):
    epochs = []
    examples = Examples.of(windows())
    training.fit(network, examples, examples, Recipe(), 0, deadline=0.0, report=lambda epoch, _: epochs.append(epoch))
    assert epochs == [0]


def test_the_learning_rate_rises_and_falls_to_zero_even_when_time_runs_out():
    schedule = training._Schedule(Recipe(learning_rate=1.0, epochs=10), steps=10)
    rates = [schedule.step() for _ in range(30)]
    assert max(rates) == pytest.approx(1.0, abs=0.06)
    assert schedule.shorten(2.9) == 2
    rates += [schedule.step() for _ in range(20)]
    assert rates[-1] < 1e-3
    assert schedule.shorten(math.inf) == 0
