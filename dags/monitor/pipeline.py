"""monitor: compares what the server was asked with what its model was trained on; drift ends in a retrain event."""

from kfp import dsl

from components.drift.component import collect, drift, retrain_event


@dsl.pipeline(name="monitor", display_name="Watch for drift")
def monitor(
    model_name: str = "bandwidth",
    since_hours: float = 24.0,
    threshold: float = 0.3,
    column_threshold: float = 1.0,
    min_rows: int = 100,
    serving_dir: str = "",
):
    """Collect the prediction log and the training reference, measure drift, and tell when a retrain is due.

    Args:
        model_name: The served model that is watched.
        since_hours: Hours of the prediction log that are compared; a day, so that every hour of the day is in it.
        threshold: Share of features that must have drifted, from 0 to 1.
        column_threshold: Distance at which a feature of many VMs has drifted, in standard deviations of training.
        min_rows: Predictions needed to judge drift at all.
        serving_dir: Folder of the server: prediction log and deployed models.
    """
    seen = collect(serving_dir=serving_dir, model_name=model_name, since_hours=since_hours)
    seen.set_caching_options(False).set_display_name("Collect")
    judged = drift(
        current=seen.outputs["current"],
        reference=seen.outputs["reference"],
        threshold=threshold,
        column_threshold=column_threshold,
        min_rows=min_rows,
    ).set_display_name("Drift")
    with dsl.If(judged.outputs["drifted"] == True, name="drifted"):  # noqa: E712 - kfp builds the condition from ==
        event = retrain_event(features=judged.outputs["features"], score=judged.outputs["score"], model_name=model_name)
        event.set_caching_options(False).set_display_name("Retrain event")
