"""AutoML of forecasters: linear, forests, boosted trees and MLP under a budget of trials and seconds, alone or together."""

import json
import math
import time
from dataclasses import replace

from components.automl import forecast_card, forecast_importance, forecasts
from components.automl.forecasts import Joined, Limits
from fleetml import atomic
from fleetml.component import Artifact
from fleetml.learn import graph as graphs
from fleetml.learn import leaderboard as boards
from fleetml.learn import search, windows
from fleetml.learn.leaderboard import Outcome, Result

# Of the seconds, when trials end and when the ensemble is there; the rest is for the page
SEARCHED, JOINED = 0.75, 0.93
LEAST_SECONDS = 1.0


def automl(
    train: Artifact,
    val: Artifact,
    trials: int,
    timeout_seconds: float,
    seed: int,
    model: Artifact,
    single: Artifact,
    leaderboard: Artifact,
    report: Artifact,
    metrics: Artifact,
    patience: int = 0,
    counted: bool = False,
    memory_mb: int = 4096,
    latency_limit_ms: float = 5.0,
    size_limit_mb: float = 20.0,
) -> None:
    """Search a tabular forecaster; write the best graph, the best trial alone (`single`), the leaderboard and the page.

    The best graph is the ensemble of trials where that is better on windows later than those it was chosen by (`forecasts.join`), and inside
    both limits: the median latency of one forecast on one thread, and the size of the file. Of trials none over a limit wins; where all are, the nearest is a best
    effort. `timeout_seconds` hold for everything. `patience`: trials without a better one that end the search, 0: none. `counted`: no clock decides how long a trial learns,
    and no latency what wins, so the same seed and trials give the same model; `timeout_seconds` ends the search between trials only. Trials are in a process of
    their own: one that crashes, hangs, or takes more than `memory_mb` (0: no limit) does not end the search.
    Raises InvalidParameter for an empty budget or limit, InvalidData for windows that cannot be scored, SearchFailed when
    nothing could be trained.
    """
    search.check_budget(trials, timeout_seconds, latency_limit_ms, size_limit_mb)
    from fleetml.learn.tabular_trainer import TabularTrainer

    begun = time.monotonic()
    limits = Limits(float(latency_limit_ms), size_limit_mb * 1e6)
    learnt, validation = windows.load(train.path), windows.load(val.path)
    trainer = TabularTrainer(learnt, validation, seed, limits.latency_ms)
    until = math.inf if counted else begun + SEARCHED * timeout_seconds
    result = search.search(
        trainer,
        trainer.families,
        trials,
        timeout_seconds if counted else max(LEAST_SECONDS, until - time.monotonic()),
        seed,
        patience=patience,
        counted=counted,
        memory_mb=memory_mb,
        max_bytes=limits.size_bytes,
    )
    joined, alone = Joined(), result.best
    if alone is not None:
        admitted = replace(limits, latency_ms=math.inf) if counted else limits
        end = math.inf if counted else begun + JOINED * timeout_seconds
        joined = forecasts.join(result, trainer.val, seed, admitted, end)
    _add(result, joined)
    met = alone is not None and limits.share(result.incumbent()) <= 1
    boards.publish(result, model, leaderboard, metrics, met, trainer.val, members=max(1, len(joined.weights)))
    if alone is None:  # `publish` has raised
        return
    about = {"validation_mase": alone.validation_mase, "latency_ms": alone.latency_ms}
    graphs.publish(alone.graph, single, **about, budget_met=limits.share(alone) <= 1)
    end = math.inf if counted else begun + timeout_seconds
    asked = forecast_importance.permutation(result.incumbent().graph, trainer.val, seed, end)
    atomic.write_text(report.path, forecast_card.render(result, joined, learnt, trainer.val, limits, asked, seed))


def _add(result: Result, joined: Joined) -> None:
    """Put the ensemble, where there is one, first, and on the leaderboard."""
    made = joined.candidate
    if made is None:
        return
    said = ", ".join(f"{weight:.2f} of trial {number}" for number, weight in joined.weights.items())
    line = Outcome(
        trial=len(result.outcomes),
        family=made.family,
        hyperparameters=json.dumps(made.hyperparameters),
        state="joined",
        validation_mase=made.validation_mase,
        seconds=0.0,
        size_bytes=made.size_bytes,
        latency_ms=made.latency_ms,
        reason=said,
    )
    result.outcomes.append(line)
    result.best = made
