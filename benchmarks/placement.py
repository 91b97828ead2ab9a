"""GPUs in use at 100 % asked for, mean of ten orders of arrival: policies on the published trace (needs ../shared).

Published (Weng et al., USENIX ATC 2023; mean of ten seeds): Random 86.30, BestFit 92.86, FGD 95.23 %. The exact orders come
from the published simulator's random numbers, so means are compared. FGD here takes the GPU with least to spare on a node.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import polars as pl

from fleetml.data.cluster import SCHEMA
from fleetml.learn.placement import cluster, judge, search
from fleetml.learn.placement.cluster import Cluster, Episodes

REAL = Path(__file__).parents[2] / "shared/data/openb_placement"
SEEDS = range(42, 52)
TRAINING = (1000,)
SECONDS = 180.0


def openb(folder: Path, workload: str) -> Cluster:
    """Return the published nodes with one of the published lists of pods."""
    from components.ingest.cluster import read

    nodes, pods = (str(folder / f"openb_{name}.csv.gz") for name in ("node_list_gpu_node", f"pod_list_{workload}"))
    return cluster.from_table(pl.concat([read(nodes, "node"), read(pods, "pod")]).cast(dict(SCHEMA)))


def run() -> Iterator[tuple[str, float, str]]:
    """Yield the share of each policy, and of the one that a search of `SECONDS` on another order found."""
    if not REAL.exists():
        raise FileNotFoundError(f"the published trace must lie in {REAL}")
    trace = openb(REAL, "default")
    found = search.search(Episodes(trace, tuple(trace.arrivals(seed) for seed in TRAINING)), 200, SECONDS, 0)
    orders = [Episodes(trace, (trace.arrivals(seed),)) for seed in SEEDS]
    graphs = {**judge.baselines(orders[0]), "learnt": search.build(orders[0], found[0].weights).SerializeToString()}
    with ProcessPoolExecutor(2) as pool:
        for name, graph in graphs.items():
            shares = [each[judge.MEASURE] for each in pool.map(judge.score, orders, [graph] * len(orders))]
            yield f"GPUs in use at 100 % asked for, {name}", 100 * sum(shares) / len(shares), "%"
