"""Hold a canonical table to its schema and to what a forecast needs, before anything is trained."""

import shutil
from datetime import datetime, timedelta

import polars as pl

from components.validate import report as html
from fleetml.component import Artifact
from fleetml.data import schema
from fleetml.errors import InvalidData, InvalidParameter

STEP = timedelta(seconds=schema.STEP_SECONDS)
FEWEST_VMS = 2


def validate(
    data: Artifact, target: str, context: int, horizon: int, valid: Artifact, report: Artifact, metrics: Artifact
) -> None:
    """Pass the canonical table on unchanged as `valid`, with an HTML report, or refuse it.

    `context` and `horizon` are in steps of five minutes; the data must hold one window of context and horizon
    for training, and one more horizon each for validation and test.

    Raises InvalidData naming column, rule, count and example rows; InvalidParameter for an unknown target.
    """
    columns = schema.target_columns(target)
    for name, value in (("context", context), ("horizon", horizon)):
        if value < 1:
            raise InvalidParameter(f"{name} must be 1 or more steps, got {value}; set it in the run's parameters")
    frame = _ruled(data)
    _refuse_unmeasured_target(frame, target, columns)
    _refuse_too_small(frame, columns, context, horizon)
    _pass_on(frame, target, columns, data, valid, report, metrics)


def validate_series(data: Artifact, metric: str, valid: Artifact, report: Artifact, metrics: Artifact) -> None:
    """The same of what is looked at for anomalies in time: one VM will do, and one of the six metrics, which is `metric` if given.

    Raises InvalidData, InvalidParameter for an unknown metric.
    """
    from fleetml.learn.anomaly import samples

    looked_at = (samples.feature(metric),) if metric else samples.FEATURES
    frame = _ruled(data)
    measured = {name: _known(frame, schema.FEATURES[name]) for name in looked_at}
    target = next((name for name, columns in measured.items() if columns), "")
    if not target:
        raise InvalidData(
            f"one of {', '.join(looked_at)} must be measured, none has a value in any of {frame.height} rows; map it in the "
            "source, or name another metric"
        )
    _pass_on(frame, target, measured[target], data, valid, report, metrics)


def _ruled(data: Artifact) -> pl.DataFrame:
    """Return the table, which keeps the rules."""
    frame = _read(data)
    from components.validate import rules  # pandera takes seconds to import; refuse bad parameters before

    rules.enforce(frame)
    return frame


def _pass_on(
    frame: pl.DataFrame,
    target: str,
    columns: tuple[str, ...],
    data: Artifact,
    valid: Artifact,
    report: Artifact,
    metrics: Artifact,
) -> None:
    figures = html.figures(frame, columns)
    with schema.aside(valid.path) as temporary:
        shutil.copyfile(data.path, temporary)
    with schema.aside(report.path) as temporary:
        temporary.write_text(html.render(frame, figures, target))
    metrics.log(rows=frame.height, vms=figures.vms, missing_percent=figures.missing_percent)
    metrics.log(step_seconds=figures.step_seconds, irregular_percent=figures.irregular_percent)
    valid.metadata.update(data.metadata)


def _read(data: Artifact) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(data.path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InvalidData(
            f"{data.path} must be a Parquet file: {str(error).splitlines()[0]}; run ingest again"
        ) from None
    if frame.is_empty():
        raise InvalidData(f"{data.path} must hold rows, has none; check source, window_days and window_end")
    return frame


def _refuse_unmeasured_target(frame: pl.DataFrame, target: str, columns: tuple[str, ...]) -> None:
    for name in columns:
        if frame[name].null_count() == frame.height:
            measured = [t for t, f in schema.TARGETS.items() if all(_measured(frame, c) for c in schema.FEATURES[f])]
            raise InvalidData(
                f"target {target} needs column {name!r}, which has no value in any of {frame.height} rows; "
                f"map it in the source, or set target to one that is measured: {', '.join(measured) or 'none is'}"
            )


def _known(frame: pl.DataFrame, columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in columns if _measured(frame, name))


def _measured(frame: pl.DataFrame, column: str) -> bool:
    return frame[column].null_count() < frame.height


def _refuse_too_small(frame: pl.DataFrame, columns: tuple[str, ...], context: int, horizon: int) -> None:
    """Refuse fewer than two VMs long enough for a window of each split; count only VMs with values."""
    measured = frame.filter(pl.all_horizontal(pl.col(name).is_not_null() for name in columns))
    spans = measured.group_by("vm_id").agg((pl.col("timestamp").max() - pl.col("timestamp").min()).alias("span"))
    if spans.height < FEWEST_VMS:
        names = ", ".join(spans["vm_id"].to_list())
        raise InvalidData(
            f"forecasting across a fleet needs at least {FEWEST_VMS} VMs, for what is learned of one must hold for "
            f"another; the data have {spans.height} with values of {', '.join(columns)}: {names}; add VMs, or map "
            "the column that tells them apart to vm_id"
        )
    needed = (context + 3 * horizon) * STEP
    first, last = _span(measured)
    if last - first + STEP < needed:
        raise InvalidData(
            f"the data must span context + 3 horizons (train, validation, test) = {context} + 3 * {horizon} steps "
            f"of {schema.STEP_SECONDS} s = {_days(needed)}; they span {_days(last - first)}, {first.isoformat()} to "
            f"{last.isoformat()}; widen window_days, give more data, or shorten context or horizon"
        )
    long_enough = spans.filter(pl.col("span") >= (context + horizon - 1) * STEP).height
    if long_enough < FEWEST_VMS:
        raise InvalidData(
            f"at least {FEWEST_VMS} VMs must live for context + horizon = {_days((context + horizon) * STEP)}; "
            f"{long_enough} of {spans.height} do; give more data, or shorten context or horizon"
        )


def _span(frame: pl.DataFrame) -> tuple[datetime, datetime]:
    time = pl.col("timestamp")
    return frame.select(time.min().alias("first"), time.max().alias("last")).row(0)


def _days(length: timedelta) -> str:
    return f"{length / timedelta(days=1):.2f} days"
