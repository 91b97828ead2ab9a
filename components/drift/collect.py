"""What was asked lately, and what the model was trained on, as two tables with the same columns."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fleetml.component import Artifact
from fleetml.data.schema import aside
from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter
from fleetml.serving import deployment, features
from fleetml.serving.deployment import PREDICTIONS, REFERENCE


def collect(
    current: Artifact,
    reference: Artifact,
    metrics: Artifact,
    serving_dir: str,
    model_name: str,
    since_hours: float,
) -> None:
    """Write the features of the last `since_hours` of requests to the served version, and of its training windows.

    Both tables hold vm_id and the feature columns. Before the first deployment both are empty. Raises InvalidData when
    the version was deployed without its reference.
    """
    if not serving_dir or since_hours <= 0:
        raise InvalidParameter(
            f"collect needs serving_dir and since_hours above 0, got {serving_dir!r} and {since_hours}; give both"
        )
    root = Path(serving_dir)
    if not root.is_dir():
        raise ConfigurationError(
            f"the serving folder must exist, {root} does not; train and deploy a model, or mend it"
        )
    served = deployment.read(root).get(model_name)
    if served is None:
        empty = pa.table(
            {"vm_id": pa.array([], pa.string())} | {c: pa.array([], pa.float64()) for c in features.HISTORY}
        )
        _write(empty, current)
        _write(empty, reference)
        metrics.log(requests=0, note=f"no model {model_name} is deployed yet", reference_rows=0)
        return
    trained = _reference((root / served.graph).parent / REFERENCE)
    since = datetime.now(UTC) - timedelta(hours=since_hours)
    asked = _asked(root / PREDICTIONS / f"model={model_name}", served.version, since, trained.schema)
    _write(asked, current)
    _write(trained, reference)
    vms = pc.count_distinct(asked["vm_id"]).as_py()
    metrics.log(requests=asked.num_rows, vms=vms, version=served.version, reference_rows=trained.num_rows)


def _reference(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidData(
            f"a served version needs the features of its training windows beside it, {path} is not readable ({error}); "
            "deploy the model again"
        ) from error


def _asked(log: Path, version: str, since: datetime, wanted: pa.Schema) -> pa.Table:
    """Return the log of one version from `since` on, in the columns of the reference."""
    days = [folder for folder in log.glob("date=*") if folder.name.removeprefix("date=") >= since.date().isoformat()]
    parts = [wanted.empty_table()]
    for path in sorted(file for day in days for file in day.glob("*.parquet")):
        table = pq.read_table(path, filters=[("time", ">=", since), ("model_version", "=", version)])
        if table.num_rows:
            parts.append(table.select(wanted.names).cast(wanted))
    return pa.concat_tables(parts)


def _write(table: pa.Table, artifact: Artifact) -> None:
    with aside(artifact.path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    artifact.log(rows=table.num_rows)
