"""refresh_features: keeps the online features fresh between trainings."""

from kfp import dsl

from components.features.component import refresh
from components.ingest.component import ingest


@dsl.pipeline(name="refresh-features", display_name="Refresh the features")
def refresh_features(
    source: str = "",
    mapping: str = "",
    window_days: int = 2,
    window_end: str = "",
    feature_store: str = "",
):
    """Ingest the latest VM metrics and bring the online store up to them.

    Args:
        source: Where the VM metrics are, as train_forecaster takes them.
        mapping: YAML file that maps the source's columns to the canonical table; empty: recognised by its columns.
        window_days: Days of data to take in; a feature older than its TTL of a day is not served.
        window_end: End of the window, ISO 8601 UTC; empty: the end of the data.
        feature_store: Folder of the online feature store.
    """
    raw = ingest(source=source, mapping=mapping, window_days=window_days, window_end=window_end)
    raw.set_caching_options(False).set_display_name("Ingest")
    fresh = refresh(data=raw.outputs["data"], store=feature_store)
    fresh.set_caching_options(False).set_display_name("Refresh")
