"""The search that AutoML, architecture search and tuning share: trials under a budget, incumbent, leaderboard."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fleetml.component import Artifact
from fleetml.errors import FleetMLError, InvalidData, InvalidParameter
from fleetml.learn import search_space
from fleetml.learn.search_space import Hyperparameters, Space
from fleetml.learn.windows import Windows

if TYPE_CHECKING:
    import onnx
    import optuna

log = logging.getLogger(__name__)
_LEAST = 0.2
Report = Callable[[int, float], None]


class SearchFailed(FleetMLError):
    """No trial of a search gave a model."""


class TooSlow(Exception):
    """A candidate's latency exceeds the limit: the trial is infeasible, the search goes on."""

    def __init__(self, latency_ms: float, limit_ms: float) -> None:
        super().__init__(f"latency {latency_ms:.2f} ms exceeds the limit of {limit_ms:g} ms")
        self.latency_ms, self.limit_ms = latency_ms, limit_ms


@dataclass(frozen=True)
class Candidate:
    """A trained model as the graph it is judged and served as; its validation MASE is the graph's."""

    graph: "onnx.ModelProto"
    family: str
    hyperparameters: Hyperparameters
    validation_mase: float
    latency_ms: float
    size_bytes: int


class Trainer(Protocol):
    """Trains one point of its families' spaces into a candidate.

    `families` are in the order of promise: their defaults are tried first. `train` returns near `deadline`
    (`time.monotonic()`, s), may call `report(epoch, score)`, which may raise to prune, and raises TooSlow.
    """

    families: Mapping[str, Space]

    def train(self, family: str, hyperparameters: Hyperparameters, deadline: float, report: Report) -> Candidate: ...


@dataclass(frozen=True)
class Outcome:
    """One line of the leaderboard; state is trained, pruned, infeasible or failed, and `reason` says why."""

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
    """What a search found: the best candidate and every trial."""

    best: Candidate | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    def incumbent(self) -> Candidate:
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


def search(trainer: Trainer, families: Mapping[str, Space], trials: int, timeout_seconds: float, seed: int) -> Result:
    """Try the default of each family, then what TPE proposes; stop after `trials` or `timeout_seconds`.

    One trial always runs. While defaults are left, the time left is shared among them: each family gets its turn.
    A trial that fails is recorded and the search goes on; `Result.incumbent` raises when none succeeded.
    """
    study, result = _study(seed, len(families)), Result()
    for start in search_space.starts(families):
        study.enqueue_trial(start)
    begun = time.monotonic()
    end = begun + timeout_seconds
    for number in range(trials):
        now = time.monotonic()
        # A trial that has only a fraction of the usual time cannot win.
        if number and end - now <= _LEAST * max(outcome.seconds for outcome in result.outcomes):
            break
        shares = max(1, min(len(families), trials) - number)
        _try(study, trainer, families, now + max(end - now, 1.0) / shares, result)
    result.seconds = time.monotonic() - begun
    return result


def check_budget(trials: int, timeout_seconds: float, latency_limit_ms: float = math.inf) -> None:
    """Check a search's parameters before data or libraries are loaded. Raises InvalidParameter."""
    for name, value, least in (("trials", trials, 1), ("timeout_seconds", timeout_seconds, 1)):
        if not value >= least:
            raise InvalidParameter(f"parameter {name!r} of a search must be at least {least}, got {value}; raise it")
    if not latency_limit_ms > 0:
        raise InvalidParameter(
            f"parameter 'latency_limit_ms' of a search must be positive, got {latency_limit_ms}; give a limit in ms"
        )


def _study(seed: int, startup: int) -> "optuna.Study":
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=startup)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=3)
    return optuna.create_study(sampler=sampler, pruner=pruner)


def _try(
    study: "optuna.Study", trainer: Trainer, families: Mapping[str, Space], deadline: float, result: Result
) -> None:
    """Run one trial, whatever becomes of it, and add its line to the result."""
    import optuna

    trial = study.ask()
    family, hyperparameters = search_space.suggest(trial, families)
    begun = time.monotonic()

    def report(epoch: int, score: float) -> None:
        trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned(f"validation MASE {score:.4f} after epoch {epoch + 1} is worse than the median's")

    candidate, state, reason = None, optuna.trial.TrialState.PRUNED, ""
    try:
        candidate = trainer.train(family, hyperparameters, deadline, report)
        state, label = optuna.trial.TrialState.COMPLETE, "trained"
    except optuna.TrialPruned as pruned:
        label, reason = "pruned", str(pruned)
    except TooSlow as slow:
        trial.set_constraint("latency_ms", slow.latency_ms - slow.limit_ms)
        label, reason = "infeasible", str(slow)
    except Exception as error:  # one bad point of the space must not end the search
        state, label = optuna.trial.TrialState.FAIL, "failed"
        reason = f"{type(error).__name__}: {error}"
        log.debug("trial failed", exc_info=True)
    study.tell(trial, candidate.validation_mase if candidate else None, state=state)
    outcome = Outcome(
        trial=trial.number,
        family=family,
        hyperparameters=json.dumps(hyperparameters),
        state=label,
        validation_mase=candidate.validation_mase if candidate else math.nan,
        seconds=round(time.monotonic() - begun, 3),
        size_bytes=candidate.size_bytes if candidate else 0,
        latency_ms=candidate.latency_ms if candidate else math.nan,
        reason=reason,
    )
    _record(result, outcome, candidate)


def _record(result: Result, outcome: Outcome, candidate: Candidate | None) -> None:
    result.outcomes.append(outcome)
    if candidate and (result.best is None or candidate.validation_mase < result.best.validation_mase):
        result.best = candidate
    said = f"MASE {outcome.validation_mase:.4f}" if candidate else f"{outcome.state}: {outcome.reason}"
    best = f"{result.best.validation_mase:.4f} ({result.best.family})" if result.best else "none"
    log.info("trial %d: %s, %.1f s, %s; best %s", outcome.trial, outcome.family, outcome.seconds, said, best)


def judge(graph: "onnx.ModelProto", windows: Windows, latency_limit_ms: float = math.inf) -> Candidate:
    """Return a finished graph as a candidate: scored and timed by ONNX Runtime. Raises TooSlow."""
    from fleetml.learn.forecaster import Forecaster
    from fleetml.learn.graph import describe
    from fleetml.learn.metrics import mase

    content = graph.SerializeToString()
    latency_ms = check_latency(graph, latency_limit_ms)
    found = describe(graph)
    score = mase(windows, Forecaster(content).forecast(windows))
    return Candidate(graph, found.family, found.hyperparameters, score, latency_ms, len(content))


def check_latency(graph: "onnx.ModelProto", limit_ms: float) -> float:
    """Return a graph's median latency in ms. Raises TooSlow above the limit.

    The median, and the best of three: on a busy machine the p99 of a graph of 0.2 ms is its neighbours' (5 to 16 ms
    measured), and a search must not depend on them. The gate judges the p99 of what is promoted.
    """
    from fleetml.learn.forecaster import latency

    content, best = graph.SerializeToString(), math.inf
    for _ in range(3):
        best = min(best, latency(content, runs=50, warmup=5)[0])
        if best <= limit_ms:
            return best
    raise TooSlow(best, limit_ms)


def require_scored(windows: Windows, name: str) -> Windows:
    """Return the windows that can be scored. Raises InvalidData when there is none."""
    import numpy as np

    scored = windows[(windows.scale > 0) & ~np.isnan(windows.target).all(axis=1)]
    if not len(scored):
        raise InvalidData(
            f"input {name!r} must hold windows with a positive scale and a target, got none of {len(windows)}; "
            "give more days or VMs that vary"
        )
    return scored


def publish(result: Result, model: Artifact, leaderboard: Artifact, metrics: Artifact, **figures: Any) -> None:
    """Write the model, the leaderboard and the figures of a finished search."""
    from fleetml.learn import graph

    result.save_leaderboard(leaderboard.path)
    best = result.incumbent()
    graph.publish(best.graph, model, validation_mase=best.validation_mase, latency_ms=best.latency_ms)
    states = [outcome.state for outcome in result.outcomes]
    metrics.log(
        family=best.family,
        validation_mase=round(best.validation_mase, 4),
        trials=len(states),
        latency_ms=round(best.latency_ms, 3),
        size_bytes=best.size_bytes,
        search_seconds=round(result.seconds, 1),
        **{state: states.count(state) for state in ("failed", "pruned", "infeasible")},
        **figures,
    )
