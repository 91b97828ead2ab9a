"""The KFP edges of ingest."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def ingest(
    data: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    source: str = "",
    mapping: str = "",
    window_days: int = 30,
    window_end: str = "",
) -> dsl.ContainerSpec:
    """Read VM metrics into the canonical table; reads the outside world, so compile it with caching off."""
    return step("components.ingest.ingest:ingest")


@dsl.container_component
def ingest_cluster(
    data: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    nodes: str = "",
    pods: str = "",
) -> dsl.ContainerSpec:
    """Read a cluster's nodes and pods; reads the outside world, so compile it with caching off."""
    return step("components.ingest.cluster:ingest_cluster")
