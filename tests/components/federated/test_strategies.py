"""Strategies by name: what they make of answers, and what they remember."""

from __future__ import annotations

import numpy as np
import pytest

from components.federated import strategies
from components.federated.configuration import STRATEGIES, Federation
from components.federated.learner import Arrays, Task
from tests.components.federated.learners import BEGIN, Pull, Sends, train

FAR = {"w": np.full(2, 1e6, np.float32)}
HONEST = {f"region-{number}": Pull(4) for number in range(4)}


def federation(strategy: str) -> Federation:
    return Federation(strategy=strategy, proximal_mu=0.1 if strategy == "fedprox" else 0.0, min_clients=3)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_comes_nearer_to_what_the_regions_have_in_common(strategy: str) -> None:
    more = {"fedprox": {"proximal_mu": 0.1}, "trimmed_mean": {"trim": 0.4}}.get(strategy, {})
    result = train(HONEST, strategy=strategy, rounds=5, min_clients=3, server_learning_rate=0.5, **more)
    assert result.arrays["w"].dtype == BEGIN["w"].dtype
    assert result.errors["region-0"]["common"] < 4


@pytest.mark.parametrize("strategy", ["trimmed_mean", "krum"])
def test_a_robust_strategy_bears_a_liar_and_the_mean_does_not(strategy: str) -> None:
    learners = {**HONEST, "liar": Sends(FAR)}
    borne = train(learners, strategy=strategy, rounds=3, min_clients=5, malicious=1 if strategy == "krum" else 0)
    assert borne.errors["region-0"]["common"] < 1
    assert train(learners, rounds=3).errors["region-0"]["common"] > 1e4


class Stops(Pull):
    """Trains in the first two rounds alone, as a learning rate that has fallen does."""

    def fit(self, arrays: Arrays, task: Task) -> tuple[Arrays, float]:
        return super().fit(arrays, task) if task.number <= 2 else (arrays, 0.0)


@pytest.mark.parametrize("strategy", ["fedadam", "fedyogi"])
def test_an_adaptive_strategy_does_not_run_on_when_its_regions_have_come_to_rest(strategy: str) -> None:
    learners = {f"region-{number}": Stops(4) for number in range(3)}
    two, all_ = (train(learners, strategy=strategy, rounds=rounds).arrays["w"].mean() for rounds in (2, 12))
    assert 0 < all_ - two < two


def test_the_moments_of_the_server_are_remembered() -> None:
    one = strategies.of(federation("fedadam"))
    one.m_t, one.v_t = {"w": np.ones(2)}, {"w": np.full(2, 2.0)}  # type: ignore[attr-defined]
    other = strategies.of(federation("fedadam"))
    strategies.remind(other, strategies.remembered(one))
    assert other.v_t["w"].tolist() == [2.0, 2.0]  # type: ignore[attr-defined]
    assert strategies.remembered(strategies.of(federation("fedavg"))) == {}


def test_fedprox_tells_regions_its_weight() -> None:
    (message, *_) = strategies.messages(strategies.of(federation("fedprox")), 1, BEGIN, {}, [1, 2, 3])
    assert message.content.config_records["config"]["proximal-mu"] == 0.1
