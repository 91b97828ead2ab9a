"""A strategy by its name: Flower's own, and what they remember from round to round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAdam, FedAvg, FedProx, FedTrimmedAvg, FedYogi, Krum, Strategy

from components.federated.configuration import Federation
from components.federated.learner import Arrays
from components.federated.records import WEIGHT, packed

# Who takes part is decided before (components.federated.selection): they send to all they are shown.
_ALL: Mapping[str, Any] = {"min_train_nodes": 1, "min_available_nodes": 1, "weighted_by_key": WEIGHT}
# Reddi et al. 2021 have beta_1 0.9 and tau 1e-3, for hundreds of rounds. Ten rounds are as many as 0.9 remembers: the model still goes where
# the first updates pointed when the regions' learning rate has fallen to nothing. And updates are of 0.01 or less here, of which tau 1e-3
# makes whole steps, of those that are noise too. By validation windows, as the rates are: docs/federated.md.
_ADAPTIVE: Mapping[str, Any] = {**_ALL, "beta_1": 0.5, "beta_2": 0.99, "tau": 0.03}
SERVER_LEARNING_RATES = {"fedadam": 0.1, "fedyogi": 0.03}
"""Where none is given. Flower corrects FedAdam's by sqrt(1 - beta_2^(round + 1)), a third or less of it in ten rounds, and not FedYogi's."""
_MADE: Mapping[str, Callable[[Federation], Strategy]] = {
    "fedavg": lambda it: FedAvg(**_ALL),
    "fedprox": lambda it: FedProx(**_ALL, proximal_mu=it.proximal_mu),
    "fedadam": lambda it: FedAdam(**_ADAPTIVE, eta=_rate(it)),
    "fedyogi": lambda it: FedYogi(**_ADAPTIVE, eta=_rate(it)),
    "trimmed_mean": lambda it: FedTrimmedAvg(**_ALL, beta=it.trim),
    "krum": lambda it: Krum(**_ALL, num_malicious_nodes=it.malicious),
}
_REMEMBERED = ("m_t", "v_t")


def of(federation: Federation) -> Strategy:
    """Return the strategy a federation names."""
    return _MADE[federation.strategy](federation)


def _rate(federation: Federation) -> float:
    return federation.server_learning_rate or SERVER_LEARNING_RATES[federation.strategy]


def remembered(strategy: Strategy) -> dict[str, Arrays]:
    """Return what a strategy keeps from round to round: the moments of the server's optimizer."""
    return {name: kept for name in _REMEMBERED if (kept := getattr(strategy, name, None))}


def remind(strategy: Strategy, kept: Mapping[str, Arrays]) -> None:
    """Give a strategy what it kept."""
    for name, arrays in kept.items():
        setattr(strategy, name, dict(arrays))


def messages(
    strategy: Strategy, number: int, arrays: Arrays, config: Mapping[str, Any], nodes: Iterable[int]
) -> list[Message]:
    """Return what a strategy sends to these nodes in a round: the record `arrays`, and `config` with what the strategy adds."""
    shown = cast(Grid, _Nodes(list(nodes)))
    return list(strategy.configure_train(number, packed(arrays), ConfigRecord(dict(config)), shown))


class _Nodes:
    """All that a strategy asks of a grid."""

    def __init__(self, nodes: list[int]) -> None:
        self._nodes = nodes

    def get_node_ids(self) -> list[int]:
        return self._nodes
