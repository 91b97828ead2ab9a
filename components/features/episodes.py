"""From a cluster's nodes and pods to orders of arrival: those a policy is searched on, and those it is judged on."""

import polars as pl

from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn.placement import cluster
from fleetml.learn.placement.cluster import Episodes

TEST_SEED = 42
"""Of the first test episode, as published; the training ones begin `_APART` later."""
_APART = 1_000_000


def episodes(
    data: Artifact,
    train: Artifact,
    test: Artifact,
    metrics: Artifact,
    train_episodes: int,
    test_episodes: int,
    seed: int,
) -> None:
    """Write the episodes. Raises InvalidParameter for a count below 1 or a seed below 0."""
    for name, value, least in (
        ("train_episodes", train_episodes, 1),
        ("test_episodes", test_episodes, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise InvalidParameter(f"{name} must be at least {least}, got {value}; raise it")
    made = cluster.from_table(pl.read_parquet(data.path))
    for artifact, first, count in ((train, _APART + seed, train_episodes), (test, TEST_SEED, test_episodes)):
        Episodes(made, tuple(made.arrivals(first + number) for number in range(count))).save(artifact.path)
    typical, _ = made.typical()
    metrics.log(nodes=len(made.nodes), specs=len(made.specs), typical_specs=len(typical), test_episodes=test_episodes)
