"""The table of a cluster's nodes and pods, and a believable one where there is no data. What `generate` makes is SYNTHETIC.

One row is one node or one pod; a synthetic cluster is named by ``cluster://?nodes=160&seed=7``.
"""

from urllib.parse import parse_qsl, urlsplit

import numpy as np
import polars as pl

from fleetml.data import MOST_GPUS, WHOLE
from fleetml.errors import InvalidParameter

SCHEMA = pl.Schema(
    {
        "role": pl.String(),  # node or pod
        "name": pl.String(),
        "cpu_milli": pl.Float64(),  # what a node has, what a pod asks for
        "memory_mib": pl.Float64(),
        "gpus": pl.Int64(),
        "gpu_milli": pl.Float64(),  # of each GPU
        "gpu_model": pl.String(),  # a node's; those that a pod may use, "|" between them, "" any
    }
)
# cores, GiB, GPUs, model, share of the nodes
_NODES = (
    (96, 384, 8, "A100", 0.35),
    (96, 768, 8, "V100", 0.15),
    (104, 512, 2, "T4", 0.3),
    (64, 256, 4, "V100", 0.1),
    (32, 128, 2, "P100", 0.1),
)
# cores, GiB, GPUs, milli of each (0: drawn), models, share of the pods
_PODS = (
    (4, 16, 0, 0.0, "", 0.12),
    (16, 48, 0, 0.0, "", 0.05),
    (4, 12, 1, 0.0, "", 0.22),
    (8, 24, 1, 0.0, "", 0.2),
    (8, 32, 1, 1000.0, "", 0.2),
    (12, 48, 1, 1000.0, "V100|A100", 0.08),
    (16, 64, 2, 1000.0, "", 0.05),
    (32, 128, 4, 1000.0, "", 0.04),
    (88, 320, 8, 1000.0, "A100|V100", 0.04),
)
_SHARES = (100.0, 200.0, 250.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0)


def generate(url: str) -> pl.DataFrame:
    """Return the table of the synthetic cluster that a ``cluster://`` URL names. Raises InvalidParameter."""
    options = {"nodes": 160, "seed": 7}
    for name, text in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name not in options or not text.isdecimal():
            raise InvalidParameter(
                f"{url}: options are whole numbers {', '.join(options)}, got {name}={text}; correct it"
            )
        options[name] = int(text)
    if not 1 <= options["nodes"] <= 100_000:
        raise InvalidParameter(f"{url}: nodes must be 1 to 100000, got {options['nodes']}; correct it")
    drawn = np.random.default_rng(options["seed"])
    nodes = drawn.choice(len(_NODES), options["nodes"], p=[node[-1] for node in _NODES])
    kinds = [_NODES[int(place)] for place in nodes]
    rows = [
        ("node", f"node-{number:05d}", 1000.0 * cores, 1024.0 * memory, gpus, float(WHOLE), model)
        for number, (cores, memory, gpus, model, _) in enumerate(kinds)
    ]
    return pl.DataFrame([*rows, *_pods(drawn, sum(kind[2] for kind in kinds))], schema=SCHEMA, orient="row")


def _pods(drawn: np.random.Generator, gpus: int) -> list[tuple[object, ...]]:
    """Return pods that ask for about as many GPUs as there are."""
    mean = sum(count * (milli or 500.0) * share for _, _, count, milli, _, share in _PODS) / WHOLE
    rows: list[tuple[object, ...]] = []
    for number, place in enumerate(drawn.choice(len(_PODS), max(10, round(gpus / mean)), p=[pod[-1] for pod in _PODS])):
        cores, memory, count, milli, models, _ = _PODS[int(place)]
        asked = float(milli or drawn.choice(_SHARES)) if count else 0.0
        size = float(drawn.choice((0.5, 1.0, 1.0, 1.0, 1.5))) if count < MOST_GPUS else 1.0
        rows.append(("pod", f"pod-{number:06d}", 1000.0 * cores * size, 1024.0 * memory * size, count, asked, models))
    return rows
