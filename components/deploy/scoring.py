"""Models that score rows: a placement policy, an anomaly detector."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.deploy.smoke import Trial
from components.deploy.trials import Anomalies, Placements
from fleetml.component import Artifact
from fleetml.data.schema import aside
from fleetml.errors import InvalidData
from fleetml.learn import judges
from fleetml.learn.anomaly import samples
from fleetml.learn.placement import cluster
from fleetml.serving import backends, deployment
from fleetml.serving import model as served
from fleetml.serving.deployment import Card


def install(
    root: Path, name: str, version: str, model: Artifact, test: Artifact, train: Artifact
) -> tuple[Card, Trial]:
    """Install a version; return what it is to be asked. An anomaly model's training rows lie beside it as the reference.

    What decided in its test is the confidence in it. Raises InvalidData for a model under another name than its kind's, which is the one that callers ask.
    """
    kind = model.metadata.get("kind", "")
    if kind not in judges.MODULES or name != kind:
        raise InvalidData(
            f"a model of kind {kind!r} must be deployed under the name of its kind, one of {', '.join(judges.MODULES)}, got "
            f"{name!r}; set model_name to it"
        )
    confidence = float(model.metadata.get(f"test_{judges.of(kind).MEASURE}", 0.0))
    card = Card(name, version, deployment.digest(model.path), None, {**model.metadata, "confidence": confidence})
    folder = deployment.install(root, card, {deployment.GRAPH: model.path})
    graph = str((folder / deployment.GRAPH).relative_to(root))
    own = served.load(root, name, deployment.Deployed(version, graph, card.sha256), backends.choose("cpu"))
    if kind == "placement":
        return card, Placements(own, cluster.load(test.path).cluster)
    rows = samples.load(train.path)
    columns = dict(zip(samples.METRICS, rows.values.astype(float).T, strict=True))
    with aside(folder / deployment.REFERENCE) as temporary:
        pq.write_table(pa.table({"vm_id": rows.vm_id.tolist(), **columns}), temporary, compression="zstd")
    return card, Anomalies(own, samples.load(test.path))
