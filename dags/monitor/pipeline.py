"""monitor: is the live traffic still that of training, and are the forecasts good? If not, a retrain event."""

from kfp import dsl

from components.drift.component import collect, decide, drift, find_served, publish, quality, retrain_event
from components.features.component import observe
from components.ingest.component import ingest


@dsl.pipeline(name="monitor", display_name="Watch for drift")
def monitor(
    model_name: str = "bandwidth",
    source: str = "",
    mapping: str = "",
    since_hours: float = 24.0,
    threshold: float = 0.3,
    column_threshold: float = 0.1,
    min_rows: int = 100,
    accuracy_days: int = 7,
    accuracy_floor: float = 0.8,
    min_forecasts: int = 100,
    cooldown_hours: float = 6.0,
    retrain_hours: float = 4.0,
    retrains_per_day: int = 3,
    registry: str = "",
    serving_dir: str = "",
):
    """Take in the truth, compare traffic and forecasts with those of training, publish, and tell when a retrain is due.

    Args:
        model_name: The served model that is watched.
        source: Where the truth is: the VM metrics that the model was trained on, as train_forecaster takes them.
        mapping: YAML file that maps the source's columns to the canonical table; empty: recognised by its columns.
        since_hours: Hours of the prediction log that are compared; a day, so that every hour of the day is in it.
        threshold: Drift of the worst feature, from 0 to 1, above which the data drifted.
        column_threshold: Kullback-Leibler divergence beyond the usual, in nats, above which a feature drifted.
        min_rows: Predictions needed to judge drift at all.
        accuracy_days: Rolling days of origins over which the accuracy is measured.
        accuracy_floor: Accuracy, 1 - WAPE, below which a retrain is due; 0: never.
        min_forecasts: Forecasts with truth needed to judge the accuracy at all.
        cooldown_hours: Hours from one retrain event of the model to the next, at least.
        retrain_hours: Hours after which a retrain that never told its end counts as dead.
        retrains_per_day: Retrain events of the model in 24 hours, at most.
        registry: MLflow tracking URI; empty: the figures are not told to MLflow.
        serving_dir: Folder of the server: prediction log, truth and deployed models.
    """
    place = {"serving_dir": serving_dir, "model_name": model_name}
    known = find_served(**place)
    known.set_caching_options(False).set_display_name("Model")
    # Before the first training the schedule finds nothing to watch, which is no failure
    with dsl.If(known.outputs["found"] == True, name="served"):  # noqa: E712 - kfp reads the comparison
        raw = ingest(source=source, mapping=mapping, window_days=accuracy_days)
        raw.set_caching_options(False).set_display_name("Ingest the truth")
        true = observe(data=raw.outputs["data"], **place)
        true.set_caching_options(False).set_display_name("Truth")
        # Drift is judged, and the older truth, also where no new truth could be had
        good = quality(days=accuracy_days, min_forecasts=min_forecasts, **place).after(true).ignore_upstream_failure()
        good.set_caching_options(False).set_display_name("Quality")
        seen = collect(since_hours=since_hours, **place)
        seen.set_caching_options(False).set_display_name("Collect")
        judged = drift(
            current=seen.outputs["current"],
            reference=seen.outputs["reference"],
            judged=good.outputs["judged"],
            threshold=threshold,
            column_threshold=column_threshold,
            min_rows=min_rows,
        ).set_display_name("Drift")
        found = {name: judged.outputs[name] for name in ("drifted", "score", "features")}
        publish(
            report=judged.outputs["report"],
            missing=judged.outputs["missing"],
            accuracy=good.outputs["accuracy"],
            registry=registry,
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            **found,
            **place,
        ).set_caching_options(False).set_display_name("Publish")
        decided = decide(
            accuracy=good.outputs["accuracy"],
            accuracy_floor=accuracy_floor,
            cooldown_hours=cooldown_hours,
            retrain_hours=retrain_hours,
            retrains_per_day=retrains_per_day,
            **found,
            **place,
        )
        decided.set_caching_options(False).set_display_name("Decide")
        # A branch a kind: an engine hangs an asset on each, and an event is of that kind alone
        with dsl.If(decided.outputs["kind"] == "forecaster", name="forecaster-due"):
            event = retrain_event(decided=decided.outputs["event"])
            event.set_caching_options(False).set_display_name("Retrain event")
        with dsl.If(decided.outputs["kind"] == "anomaly", name="anomaly-due"):
            event = retrain_event(decided=decided.outputs["event"])
            event.set_caching_options(False).set_display_name("Retrain event: anomaly")
