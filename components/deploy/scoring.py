"""Models that score rows: a placement policy, anomaly detectors."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.deploy.smoke import Trial
from components.deploy.trials import Anomalies, Placements, Series
from fleetml.component import Artifact
from fleetml.data import schema
from fleetml.data.schema import aside
from fleetml.errors import InvalidData
from fleetml.learn import judges
from fleetml.learn.anomaly import samples
from fleetml.learn.anomaly.samples import Samples
from fleetml.learn.placement import cluster
from fleetml.learn.window_anomaly import judge as window_judge
from fleetml.serving import backends, deployment, features
from fleetml.serving import model as served
from fleetml.serving.deployment import Card
from fleetml.serving.model import Model

REFERENCE_ROWS = 20_000
"""Training rows kept at most for the monitor to compare with; evenly spread where there are more."""


def install(
    root: Path, name: str, version: str, model: Artifact, test: Artifact, train: Artifact
) -> tuple[Card, Trial]:
    """Install a version; return what it is to be asked. An anomaly model's training rows and scores lie beside it as the reference.

    What decided in its test is the confidence in it. Raises InvalidData for a name that callers ask for something else.
    """
    kind = model.metadata.get("kind", "")
    _require_name(kind, name)
    confidence = float(model.metadata.get(f"test_{judges.of(kind).MEASURE}", 0.0))
    card = Card(name, version, deployment.digest(model.path), None, {**model.metadata, "confidence": confidence})
    folder = deployment.install(root, card, {deployment.GRAPH: model.path})
    graph = str((folder / deployment.GRAPH).relative_to(root))
    own = served.load(root, name, deployment.Deployed(version, graph, card.sha256), backends.choose("cpu"))
    if kind == "placement":
        return card, Placements(own, cluster.load(test.path).cluster)
    if kind == "window_anomaly":
        return card, Series(window_judge.Asked(model.path.read_bytes()), window_judge.read(test.path))
    write_reference(samples.load(train.path), own, folder / deployment.REFERENCE)
    return card, Anomalies(own, samples.load(test.path))


def _require_name(kind: str, name: str) -> None:
    """A kind with an rpc is asked under its own name, one that is asked by raw tensors under any that no other kind has."""
    own = kind in judges.OWN_NAMES
    if kind not in judges.MODULES or (name != kind and (not own or name in {*judges.MODULES, *schema.TARGETS})):
        raise InvalidData(
            f"a model of kind {kind!r} must be deployed under {'a name that no other kind has' if own else 'the name of its kind'}"
            f" (kinds: {', '.join(judges.MODULES)}), got {name!r}; set model_name to one"
        )


def write_reference(rows: Samples, model: Model, path: Path) -> None:
    """Write what live questions are compared with: vm_id, origin, the metrics of the training rows, and their scores as `forecast`.

    Rows without a time count as of one day, so that what days differ by is unknown.
    """
    if len(rows) > REFERENCE_ROWS:
        places = np.linspace(0, len(rows) - 1, REFERENCE_ROWS).astype(np.intp)
        rows = Samples(rows.vm_id[places], rows.values[places], None if rows.time is None else rows.time[places])
    time = np.zeros(len(rows), "datetime64[us]") if rows.time is None else rows.time
    scores = model.session.run({"metrics": rows.values})["score"][:, 0].astype(np.float64)
    columns = {
        "vm_id": pa.array(rows.vm_id.tolist(), pa.string()),
        "origin": pa.array(time, pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
        **dict(zip(samples.METRICS, rows.values.astype(float).T, strict=True)),
        features.FORECAST: scores,
    }
    with aside(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")
