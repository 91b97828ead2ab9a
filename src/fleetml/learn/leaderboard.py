"""What a search found, for people and for the next step: the leaderboard of its trials, the best model, its figures."""

import logging
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetml.component import Artifact
from fleetml.errors import FleetMLError

if TYPE_CHECKING:
    from fleetml.learn.search import Candidate
    from fleetml.learn.study.loop import StudyResult
    from fleetml.learn.windows import Windows

log = logging.getLogger(__name__)


class SearchFailed(FleetMLError):
    """No trial of a search gave a model."""


@dataclass(frozen=True)
class Outcome:
    """One line of the leaderboard; state is trained, pruned, infeasible or failed, and `reason` says why; joined: what trials say together."""

    trial: int
    family: str
    hyperparameters: str
    state: str
    validation_mase: float
    seconds: float
    size_bytes: int
    latency_ms: float
    reason: str


@dataclass
class Result:
    """What a search found: the best candidate, every trial, and the study they are of: with it go the graphs that they kept."""

    best: "Candidate | None" = None
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    study: "StudyResult | None" = None

    def incumbent(self) -> "Candidate":
        """Return the best candidate; raises SearchFailed, naming the first cause, when every trial failed."""
        if self.best is None:
            first = self.outcomes[0]
            raise SearchFailed(
                f"a search must train at least one model, got {len(self.outcomes)} trials and none; the first "
                f"({first.family} {first.hyperparameters}) was {first.state}: {first.reason}; "
                "raise timeout_seconds or latency_limit_ms, or mend the cause"
            )
        return self.best

    def save_leaderboard(self, path: Path) -> None:
        """Write the trials, best first, as Parquet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from fleetml.atomic import aside

        rows = sorted(
            (asdict(o) for o in self.outcomes), key=lambda r: (math.isnan(r["validation_mase"]), r["validation_mase"])
        )
        for row in rows:
            row.update({k: None for k in ("validation_mase", "latency_ms") if math.isnan(row[k])})
        kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
        columns = pa.schema([(name, kinds[kind]) for name, kind in Outcome.__annotations__.items()])
        with aside(path) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, columns), temporary)


def publish(
    result: Result,
    model: Artifact,
    leaderboard: Artifact,
    metrics: Artifact,
    budget_met: bool,
    val: "Windows",
    **figures: Any,
) -> None:
    """Write the model, the leaderboard and the figures of a finished search; without `budget_met` it is a best effort.

    The model gets its quantiles by `val`; its latency, and the size on the leaderboard, are those of the graph before.
    """
    from fleetml.learn import conformal, graph

    result.save_leaderboard(leaderboard.path)
    best = result.incumbent()
    about = {"validation_mase": best.validation_mase, "latency_ms": best.latency_ms, "budget_met": budget_met}
    graph.publish(conformal.calibrated(best.graph, val), model, **about)
    if not budget_met:
        log.warning("no model keeps the limits; %s, the nearest to them, is published as a best effort", best.family)
    states = [outcome.state for outcome in result.outcomes if outcome.state != "joined"]
    metrics.log(
        family=best.family,
        validation_mase=round(best.validation_mase, 4),
        trials=len(states),
        latency_ms=round(best.latency_ms, 3),
        size_bytes=model.metadata["size_bytes"],
        budget_met=budget_met,
        search_seconds=round(result.seconds, 1),
        **{state: states.count(state) for state in ("failed", "pruned", "infeasible")},
        **figures,
    )
