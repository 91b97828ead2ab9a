"""observe: takes in what became true, for the forecasts of a served model to be judged by."""

from kfp import dsl

from components.features.component import observe as keep
from components.ingest.component import ingest


@dsl.pipeline(name="observe", display_name="Take in the truth")
def observe(
    model_name: str = "bandwidth",
    source: str = "",
    mapping: str = "",
    window_days: int = 8,
    window_end: str = "",
    serving_dir: str = "",
):
    """Ingest VM metrics and keep the model's target of them.

    Args:
        model_name: The served model, named after its target.
        source: Where the VM metrics are, as train_forecaster takes them.
        mapping: YAML file that maps the source's columns to the canonical table; empty: recognised by its columns.
        window_days: Days of data to take in.
        window_end: End of the window, ISO 8601 UTC; empty: the end of the data.
        serving_dir: Folder of the server, in which the truth is kept.
    """
    raw = ingest(source=source, mapping=mapping, window_days=window_days, window_end=window_end)
    raw.set_caching_options(False).set_display_name("Ingest")
    kept = keep(data=raw.outputs["data"], serving_dir=serving_dir, model_name=model_name)
    kept.set_caching_options(False).set_display_name("Truth")
