"""The untrained mixture as a candidate of a search: it costs an export and its judgement, and is hard to beat.

It needs no training window, and no hyperparameter of it is searched; a search judges it once, beside its own trials.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from fleetml.learn.experts import Memory
from fleetml.learn.limits import Limits, Price
from fleetml.learn.windows import Meta, Windows

if TYPE_CHECKING:
    import onnx

    from fleetml.learn.search import Candidate

FAMILY = "mixture"
_MEMORY = Memory()
_PROVEN = 64  # windows on which the graph must say what the network does


def why_not(meta: Meta) -> str:
    """Return why windows like these have no mixture, "" where they may: it looks back a week and a day."""
    needed = _MEMORY.context(meta.season)
    if meta.context >= needed:
        return ""
    return f"the family mixture is left out: it needs a context of {needed} steps, the windows have {meta.context}"


def made(val: Windows) -> onnx.ModelProto:
    """Return the graph, proven equal to its network. Raises InvalidGraph where it is not, InvalidParameter for a context `why_not`."""
    import torch

    from fleetml.learn import export
    from fleetml.learn.mixture import Mixture
    from fleetml.learn.quantiles import LEVELS

    network, some = Mixture(val.meta, _MEMORY), val[:_PROVEN]
    graph = export.from_torch(network, val.meta, asdict(_MEMORY), LEVELS)
    with torch.no_grad():
        said = network(torch.from_numpy(some.history), torch.from_numpy(some.covariates))[0].numpy()
    export.check_equal(graph, some, said)
    return graph


def judged(
    graph: onnx.ModelProto, val: Windows, limits: Limits, seconds: float = math.inf
) -> tuple[Candidate, Price, str]:
    """Return the candidate, its price, and why it may not be chosen: a limit that it is above, or too little time to judge it.

    It is judged only where it may be chosen: a forecast costs it milliseconds. Its validation MASE is NaN elsewhere.
    """
    from fleetml.learn.forecaster import Forecaster
    from fleetml.learn.metrics import mase
    from fleetml.learn.search import Candidate

    content, price = graph.SerializeToString(), limits.price(graph)
    reason = limits.reason(price)
    if not reason and (needed := price.latency_ms * len(val) / 1000) > seconds:
        reason = f"to judge it on {len(val)} windows would take {needed:.0f} s of the search's {seconds:.0f}"
    score = math.nan if reason else mase(val, Forecaster(content).forecast(val))
    return Candidate(graph, FAMILY, asdict(_MEMORY), score, price.latency_ms, len(content)), price, reason
