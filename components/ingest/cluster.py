"""Read a cluster's nodes and pods into one table (`fleetml.data.cluster`)."""

import polars as pl

from fleetml.component import Artifact
from fleetml.data import MOST_GPUS, WHOLE, cluster, schema
from fleetml.errors import InvalidData, InvalidParameter

# Our column → the names that sources have for it; the first are those of the openb traces.
_NAMES = {
    "name": ("sn", "name", "node", "pod"),
    "cpu_milli": ("cpu_milli",),
    "memory_mib": ("memory_mib",),
    "gpus": ("num_gpu", "gpu", "gpus"),
    "gpu_milli": ("gpu_milli",),
    "gpu_model": ("gpu_spec", "model", "gpu_model"),
}
_DEFAULTS: dict[str, object] = {"gpu_milli": float(WHOLE), "gpu_model": ""}


def ingest_cluster(nodes: str, pods: str, data: Artifact, metrics: Artifact) -> None:
    """Write the table of `nodes` and `pods`: CSV or Parquet files, both "" or a ``cluster://`` URL for the generator.

    Raises InvalidData for a file that cannot be read or breaks a rule, InvalidParameter for one without the other.
    """
    if bool(pods) != bool(nodes and not nodes.startswith("cluster://")):
        raise InvalidParameter(
            f"nodes and pods are two files, or both empty, or nodes is a cluster:// URL, got {nodes!r} and {pods!r}; give both"
        )
    table = pl.concat([read(nodes, "node"), read(pods, "pod")]) if pods else cluster.generate(nodes or "cluster://")
    _check(table)
    with schema.aside(data.path) as temporary:
        table.write_parquet(temporary)
    of = table.partition_by("role", as_dict=True)
    gpus = int(of[("node",)]["gpus"].sum())
    metrics.log(nodes=len(of[("node",)]), gpus=gpus, pods=len(of[("pod",)]))
    data.metadata.update(source=nodes or "cluster://", pods=pods)


def read(source: str, role: str) -> pl.DataFrame:
    """Return the rows of a CSV or Parquet file as rows of the table. Raises InvalidData."""
    try:
        found = pl.read_parquet(source) if source.endswith((".parquet", ".pq")) else pl.read_csv(source)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InvalidData(
            f"{role}s must be a CSV or Parquet file that can be read, got {source} ({error}); correct it"
        ) from None
    columns = {ours: next((name for name in names if name in found.columns), "") for ours, names in _NAMES.items()}
    if missing := [ours for ours, theirs in columns.items() if not theirs and ours not in _DEFAULTS]:
        names = {ours: _NAMES[ours] for ours in missing}
        raise InvalidData(
            f"{source}: {role}s need a column for each of {names}, got {found.columns}; add or rename them"
        )
    try:
        rows = found.select(pl.lit(role).alias("role"), *(_column(ours, theirs) for ours, theirs in columns.items()))
    except pl.exceptions.PolarsError as error:
        raise InvalidData(f"{source}: numbers of {role}s must be numbers, {error}; correct them") from None
    return rows.with_columns(gpu_milli=pl.when(pl.col("gpus") > 0).then(pl.col("gpu_milli")).otherwise(0.0))


def _column(ours: str, theirs: str) -> pl.Expr:
    given = (pl.col(theirs) if theirs else pl.lit(None)).cast(cluster.SCHEMA[ours])
    return given.fill_null(_DEFAULTS[ours]).alias(ours) if ours in _DEFAULTS else given.alias(ours)


def _check(table: pl.DataFrame) -> None:
    """Raises InvalidData, naming the first row that breaks a rule."""
    node, gpus, milli = pl.col("role") == "node", pl.col("gpus"), pl.col("gpu_milli")
    rules = {
        "a name of its own": pl.struct("role", "name").is_duplicated() | pl.col("name").is_null(),
        "cores and memory from 0": ~(pl.col("cpu_milli").ge(0) & pl.col("memory_mib").ge(0)).fill_null(False),
        f"0 to {MOST_GPUS} GPUs": ~gpus.is_between(0, MOST_GPUS).fill_null(False),
        f"GPU milli above 0 and up to {WHOLE}, {WHOLE} for several": (gpus > 0)
        & ~node
        & ~(milli.is_between(0, WHOLE, closed="right") & ((gpus == 1) | (milli == WHOLE))),
    }
    for rule, broken in rules.items():
        wrong = table.filter(broken)
        if len(wrong):
            row = wrong.row(0, named=True)
            raise InvalidData(
                f"each node and pod needs {rule}; {len(wrong)} rows break that, the first is {row}; correct them"
            )
    for role in ("node", "pod"):
        held = table.filter(pl.col("role") == role)
        if not held["gpus"].sum():
            raise InvalidData(f"a placement policy is learnt from {role}s with GPUs, the source has none; give such")
