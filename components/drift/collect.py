"""What was asked and answered lately, and what the model was trained on, as two tables with the same columns."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.drift.folder import existing, served
from fleetml.component import Artifact
from fleetml.data.schema import aside
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.serving import deployment, features
from fleetml.serving.deployment import PREDICTIONS, REFERENCE, Deployed
from fleetml.serving.routing import SHADOW

_KEY = {"vm_id": pa.string(), "origin": pa.timestamp("us", "UTC")}


def collect(
    current: Artifact,
    reference: Artifact,
    metrics: Artifact,
    serving_dir: str,
    model_name: str,
    since_hours: float,
) -> None:
    """Write the features and forecasts of what was asked in the last `since_hours`, and of the served version's training windows.

    Both tables hold vm_id, origin, the feature columns and `forecast`, the first value of the forecast (of an anomaly model the
    score). Features are those of all questions, whichever version answered: a part of a day, which is all that a version has seen
    after its deployment, differs from the days of training by its hours. Forecasts are those of the served version, null for
    questions that another answered; both tables lack them until they are half of the rows: fewer are such a part of a
    day, too, and the statistic calls a column missing that less than half of the rows have. Of a placement
    policy both are empty. Raises InvalidParameter for a model that is not served, InvalidData when the version was deployed without
    its reference.
    """
    if not serving_dir or since_hours <= 0:
        raise InvalidParameter(
            f"collect needs serving_dir and since_hours above 0, got {serving_dir!r} and {since_hours}; give both"
        )
    root, now = existing(serving_dir), served(serving_dir, model_name)
    if note := _unwatched(root, now):
        columns = (*features.HISTORY, features.FORECAST)
        empty = pa.schema([*_KEY.items(), *((name, pa.float64()) for name in columns)]).empty_table()
        _write(empty, current)
        _write(empty, reference)
        metrics.log(requests=0, note=note, reference_rows=0)
        return
    trained = _reference((root / now.graph).parent / REFERENCE)
    since = datetime.now(UTC) - timedelta(hours=since_hours)
    asked = _asked(root / PREDICTIONS / f"model={model_name}", now.version, since, trained.schema)
    forecasts = asked.num_rows - asked[features.FORECAST].null_count
    if 2 * forecasts < asked.num_rows:
        asked, trained = (table.drop_columns([features.FORECAST]) for table in (asked, trained))
    _write(asked, current)
    _write(trained, reference)
    vms = pc.count_distinct(asked["vm_id"]).as_py()
    metrics.log(
        requests=asked.num_rows,
        vms=vms,
        version=now.version,
        forecasts=forecasts,
        reference_rows=trained.num_rows,
    )


def _unwatched(root: Path, now: Deployed) -> str:
    """Say why there is nothing to compare; "": there is."""
    card = deployment.card(root / now.graph)
    if card and card.metadata.get("kind") == "placement":
        return "a placement policy learnt in simulated fillings of a cluster, not from a stream that could drift"
    return ""


def _reference(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
        if missing := {*_KEY, features.FORECAST} - set(table.column_names):
            raise pa.ArrowInvalid(f"it lacks {', '.join(sorted(missing))}")
        return table
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidData(
            f"a served version needs the features of its training windows beside it, {path} is not readable ({error}); "
            "deploy the model again"
        ) from error


def _asked(log: Path, version: str, since: datetime, wanted: pa.Schema) -> pa.Table:
    """Return what was asked from `since` on, in the columns of the reference; forecasts of `version` only, else null."""
    days = [folder for folder in log.glob("date=*") if folder.name.removeprefix("date=") >= since.date().isoformat()]
    # What was asked of a second version beside who answered (a shadow) is the same question again.
    answered = (pc.field("time") >= since) & (pc.field("failure") == "") & (pc.field("role") != SHADOW)
    needed = {*wanted.names, "failure", "role"} - {features.FORECAST}
    parts = [wanted.empty_table()]
    for path in sorted(file for day in days for file in day.glob("*.parquet")):
        if not needed <= set(pq.read_schema(path).names):  # of an older FleetML, or of a version with other features
            continue
        table = pq.read_table(path, filters=answered)
        if table.num_rows:
            own = pc.equal(table["model_version"], version)
            first = pc.if_else(own, pc.list_element(table["predictions"], 0), pa.scalar(None, pa.float64()))
            parts.append(table.append_column(features.FORECAST, first).select(wanted.names).cast(wanted))
    return pa.concat_tables(parts)


def _write(table: pa.Table, artifact: Artifact) -> None:
    with aside(artifact.path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    artifact.log(rows=table.num_rows)
