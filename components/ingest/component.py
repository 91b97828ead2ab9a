"""The KFP edge of ingest."""

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
