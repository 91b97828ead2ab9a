"""What a cluster is made of, and what asks for room in it: nodes, pods, and the order in which pods arrive.

Protocol of Weng et al., Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent,
USENIX ATC 2023: all pods in random order, then pods drawn again with replacement, until 1.3 times the GPUs are asked for;
each is placed once or turned away, and none leaves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fleetml.atomic import aside
from fleetml.data import MOST_GPUS, WHOLE
from fleetml.errors import InvalidData

if TYPE_CHECKING:
    import polars as pl

Numbers = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]
TUNE = 1.3
TYPICAL = 0.95
"""Share of all pods that the typical specs make up, the most frequent first."""


@dataclass(frozen=True)
class Spec:
    """What a pod asks for. cpu in milli-cores, memory in MiB, `gpus` GPUs of each `gpu_milli`; models: "" or "T4|P100"."""

    cpu: float
    memory: float
    gpus: int = 0
    gpu_milli: float = 0.0
    models: str = ""

    def runs_on(self, model: str) -> bool:
        return not self.gpus or not self.models or model in self.models.split("|")

    @property
    def demand(self) -> float:
        """GPU milli asked for in all."""
        return self.gpus * self.gpu_milli


@dataclass(frozen=True)
class Nodes:
    """N empty nodes: name [N] str, cpu [N] milli-cores, memory [N] MiB, gpus [N] count, model [N] str ("": no GPU)."""

    name: tuple[str, ...]
    cpu: Numbers
    memory: Numbers
    gpus: Numbers
    model: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.name)

    @property
    def capacity(self) -> float:
        """GPU milli of all nodes."""
        return float(self.gpus.sum() * WHOLE)

    def free(self) -> Numbers:
        """Return what each GPU has to give while nothing runs, [N, MOST_GPUS] milli, the GPUs a node lacks 0."""
        return np.where(np.arange(MOST_GPUS) < self.gpus[:, None], np.float32(WHOLE), np.float32(0))


@dataclass(frozen=True)
class Cluster:
    """Nodes, the S different specs of the pods, and how many pods have each, counts [S]."""

    nodes: Nodes
    specs: tuple[Spec, ...]
    counts: npt.NDArray[np.int64]

    def typical(self) -> tuple[tuple[Spec, ...], Numbers]:
        """Return the most frequent specs (memory left aside) that make up `TYPICAL` of the pods, and their shares."""
        found: dict[Spec, int] = {}
        for spec, count in zip(self.specs, self.counts, strict=True):
            bare = Spec(spec.cpu, 0.0, spec.gpus, spec.gpu_milli, spec.models if spec.gpus else "")
            found[bare] = found.get(bare, 0) + int(count)
        ranked = sorted(found.items(), key=lambda item: (-item[1], repr(item[0])))
        shares = np.array([count for _, count in ranked]) / max(1, self.counts.sum())
        kept = int(np.searchsorted(np.cumsum(shares), TYPICAL - 1e-9)) + 1
        return tuple(spec for spec, _ in ranked[:kept]), (shares[:kept] / shares[:kept].sum()).astype(np.float32)

    def arrivals(self, seed: int, tune: float = TUNE) -> Places:
        """Return the specs of the pods in the order in which they arrive, by the protocol above."""
        drawn = np.random.default_rng(seed)
        pods = np.repeat(np.arange(len(self.specs)), self.counts)
        demand = np.array([spec.demand for spec in self.specs])
        order, wanted = drawn.permutation(pods), tune * self.nodes.capacity
        while (missing := wanted - demand[order].sum()) > 0:
            more = drawn.choice(pods, max(1, round(missing / demand[pods].mean())))
            order = np.concatenate([order, more])
        return order[: int(np.searchsorted(np.cumsum(demand[order]), wanted)) + 1]


@dataclass(frozen=True)
class Episodes:
    """A cluster and several orders of arrival: what a policy is trained or judged on."""

    cluster: Cluster
    orders: tuple[Places, ...]

    def save(self, path: Path) -> None:
        """Write a row an arrival (episode, spec) as Parquet, cluster in the schema's metadata; aside and renamed."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        episode = np.repeat(np.arange(len(self.orders), dtype=np.int32), [len(order) for order in self.orders])
        spec = np.concatenate(self.orders).astype(np.int32)
        table = pa.table({"episode": episode, "spec": spec}).replace_schema_metadata({"cluster": _dump(self.cluster)})
        with aside(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")


def load(path: Path) -> Episodes:
    """Return what `Episodes.save` wrote. Raises InvalidData for another file."""
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        cluster = _parse(json.loads((table.schema.metadata or {})[b"cluster"]))
        episode, spec = (table[name].to_numpy() for name in ("episode", "spec"))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InvalidData(
            f"episodes of placement must be a Parquet file written by the features stage, got {path} ({error}); run it again"
        ) from error
    return Episodes(cluster, tuple(spec[episode == number].astype(np.intp) for number in np.unique(episode)))


def from_table(table: pl.DataFrame) -> Cluster:
    """Return the cluster of a table of nodes and pods (`fleetml.data.cluster`)."""
    import polars as pl

    node = table.filter(pl.col("role") == "node").sort("name")
    pod = table.filter(pl.col("role") == "pod")
    cpu, memory, gpus = (node[name].to_numpy().astype(np.float32) for name in ("cpu_milli", "memory_mib", "gpus"))
    nodes = Nodes(tuple(node["name"]), cpu, memory, gpus, tuple(node["gpu_model"]))
    asked = pod.group_by("cpu_milli", "memory_mib", "gpus", "gpu_milli", "gpu_model").len()
    asked = asked.sort("len", *asked.columns[:-1], descending=[True, *[False] * 5])
    return Cluster(nodes, tuple(Spec(*row[:-1]) for row in asked.iter_rows()), asked["len"].to_numpy().astype(np.int64))


def _dump(cluster: Cluster) -> str:
    nodes = {name: _plain(value) for name, value in vars(cluster.nodes).items()}
    specs = [list(asdict(spec).values()) for spec in cluster.specs]
    return json.dumps({"nodes": nodes, "specs": specs, "counts": cluster.counts.tolist()})


def _plain(value: Any) -> Sequence[Any]:
    return value.tolist() if isinstance(value, np.ndarray) else list(value)


def _parse(said: dict[str, Any]) -> Cluster:
    nodes = said["nodes"]
    cpu, memory, gpus = (np.array(nodes[name], np.float32) for name in ("cpu", "memory", "gpus"))
    specs = tuple(Spec(*spec) for spec in said["specs"])
    counts = np.array(said["counts"], np.int64)
    return Cluster(Nodes(tuple(nodes["name"]), cpu, memory, gpus, tuple(nodes["model"])), specs, counts)
