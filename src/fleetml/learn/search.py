"""The search that AutoML, architecture search and tuning share: trials under a budget, and how a graph is judged."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn import search_space
from fleetml.learn.leaderboard import Outcome, Result
from fleetml.learn.search_space import Hyperparameters, Space
from fleetml.learn.windows import Windows

if TYPE_CHECKING:
    import onnx

    from fleetml.learn.study import trial as trials
    from fleetml.learn.study.loop import StudyResult
    from fleetml.learn.study.settings import StudySettings
    from fleetml.learn.study.trial import Trial

Report = Callable[[int, float], None]
# So long [s] before a trial in a process of its own is over its graph is exported and judged.
HANDOVER = 1.5


class TooSlow(Exception):
    """A graph's latency exceeds the limit: the trial is infeasible, the search goes on.

    `validation_mase` is the graph's as it is, trained or not; NaN where nobody judged it.
    """

    def __init__(self, latency_ms: float, limit_ms: float, validation_mase: float = math.nan) -> None:
        super().__init__(f"latency {latency_ms:.2f} ms exceeds the limit of {limit_ms:g} ms")
        self.latency_ms, self.limit_ms, self.validation_mase = latency_ms, limit_ms, validation_mase

    def judged(self, validation_mase: float) -> "TooSlow":
        """Return the same of a graph whose error is known: a sampler learns of no trial without a value."""
        return TooSlow(self.latency_ms, self.limit_ms, validation_mase)


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
    (`time.monotonic()`, s), may call `report(epoch, score)`, which may raise to prune, and raises TooSlow, with the error, for
    a graph whose latency [ms] is above `limit`.
    """

    families: Mapping[str, Space]
    limit: float

    def train(self, family: str, hyperparameters: Hyperparameters, deadline: float, report: Report) -> Candidate: ...


def search(
    trainer: Trainer,
    families: Mapping[str, Space],
    trials: int,
    timeout_seconds: float,
    seed: int,
    sampler: str = "auto",
    pruner: str = "median",
    workers: int = 1,
    storage: str = "",
    page: Path | None = None,
    name: str = "search",
    patience: int = 0,
    counted: bool = False,
    max_operations: int = 0,
    memory_mb: int | None = None,
    max_bytes: float = math.inf,
) -> Result:
    """Try the default of each family, then what the sampler proposes; stop after `trials` or `timeout_seconds`.

    One trial always runs. While defaults are left, the time left is shared among them: each family gets its turn.
    A trial that fails is recorded and the search goes on; `Result.incumbent` raises when none succeeded. Where all are over
    the limit of latency, the nearest to it is trained as a best effort. With a `storage` the search of that `name` (`study.storage.study_name`)
    goes on where it was left. `page`: where the study's report is written (HTML). `patience`: trials without a better one that end
    it, 0: none. `counted`: no clock decides, so with one worker the same seed and trials give the same result; latency is told and
    not limited, `max_operations` (FLOPs of one forecast, 0: none) is the limit in its place, and `timeout_seconds` ends the search
    between trials only. `max_bytes`: the most that a graph may have. `memory_mb`: what one trial may take, 0: no limit; then trials are in a process of their own, and one that crashes,
    hangs or takes more does not end the search. None: in this process. Raises InvalidParameter for an unknown sampler or pruner.
    """
    from fleetml.learn.study import limits, loop, report
    from fleetml.learn.study.settings import StudySettings
    from fleetml.learn.study.space import of_ranges

    settings = StudySettings(
        trials,
        timeout_seconds,
        sampler,
        pruner,
        workers=workers,
        seed=seed,
        patience=patience,
        storage=storage,
        name=name,
        **({} if memory_mb is None else limits.of_search(trials, timeout_seconds, memory_mb, counted)),
    )
    if counted:
        trainer.limit = math.inf
    objective = _Objective(trainer, families, settings, counted, max_operations, max_bytes)
    space = of_ranges(families)
    study = loop.run(objective, space, settings, search_space.starts(families))
    if page is not None:
        error = "validation MASE"
        report.write(page, f"Search over {', '.join(families)}: {error}", study, space, settings, (error,))
    return Result(objective.best(study), [_outcome(each) for each in study.outcomes], study.seconds, study)


class _Objective:
    """Trains the point of a trial; remembers the best candidate of this process."""

    def __init__(
        self,
        trainer: Trainer,
        families: Mapping[str, Space],
        settings: "StudySettings",
        counted: bool,
        max_operations: int,
        max_bytes: float,
    ) -> None:
        self.trainer, self.families, self.settings = trainer, families, settings
        self.counted, self.max_operations, self.max_bytes = counted, max_operations, max_bytes
        self._best: tuple[int, Candidate] | None = None

    def __call__(self, trial: "Trial") -> float:
        from fleetml.learn.study.space import in_family
        from fleetml.learn.study.trial import Pruned

        family, hyperparameters = in_family(trial.params)

        def report(epoch: int, score: float) -> None:
            try:
                trial.report(epoch, score)
            except Pruned:
                why = f"validation MASE {score:.4f} after epoch {epoch + 1} is worse than the others'"
                raise Pruned(why) from None

        try:
            candidate = self.trainer.train(family, hyperparameters, self._deadline(trial), report)
        except TooSlow as slow:
            return self._too_slow(trial, slow)
        if math.isfinite(self.trainer.limit):
            trial.constrain("latency_ms", candidate.latency_ms - self.trainer.limit)
        if self.max_operations:
            self._count(trial, candidate)
        if math.isfinite(self.max_bytes):
            trial.constrain("size_bytes", candidate.size_bytes / self.max_bytes - 1)
            if candidate.size_bytes > self.max_bytes:
                trial.note("reason", f"{candidate.size_bytes} bytes exceed the limit of {self.max_bytes:.0f}")
        trial.note("latency_ms", candidate.latency_ms)
        trial.note("size_bytes", candidate.size_bytes)
        if self.settings.isolated or self.settings.storage:
            trial.keep(candidate.graph.SerializeToString())
        if self._best is None or candidate.validation_mase < self._best[1].validation_mase:
            self._best = trial.number, candidate
        return candidate.validation_mase

    def _count(self, trial: "Trial", candidate: Candidate) -> None:
        from fleetml.learn.limits import price_of

        operations = price_of(candidate.graph, candidate.latency_ms).operations
        trial.constrain("operations", operations / self.max_operations - 1)
        if operations > self.max_operations:
            trial.note("reason", f"{operations} operations exceed the limit of {self.max_operations}")

    def _too_slow(self, trial: "Trial", slow: TooSlow) -> float:
        """Tell a trial with its error and by how much it is over, so that a sampler learns where the limit runs.

        CMA-ES knows no constraints: told the error alone, which is the better the slower a graph is, it would walk beyond the limit.
        """
        from fleetml.learn.study.trial import Pruned

        trial.constrain("latency_ms", slow.latency_ms - slow.limit_ms)
        trial.note("latency_ms", slow.latency_ms)
        if math.isnan(slow.validation_mase) or self.settings.sampler == "cmaes":
            raise Pruned(str(slow))
        trial.note("reason", str(slow))
        return slow.validation_mase

    def _deadline(self, trial: "Trial") -> float:
        """Return when training should end: defaults share the time that is left among them; where it is counted, never."""
        if self.counted:
            return math.inf
        return turn(trial, min(len(self.families), self.settings.trials), self.settings.workers)

    def best(self, study: "StudyResult") -> Candidate | None:
        """Return the best candidate of the study: as it was trained here, as the graph that its trial kept, else trained again."""
        best = study.best
        if best is None:
            return self._best_effort(study)
        if self._best is not None and self._best[0] == best.number:
            return self._best[1]
        if best.number in study.kept:
            return _kept(best, study.kept[best.number])
        # With Postgres a graph is where it was trained.
        try:
            return self._trained(best, self.settings.seconds)
        except TooSlow:  # what was inside the limit there is not here
            return self._best_effort(study)

    def _best_effort(self, study: "StudyResult") -> Candidate | None:
        """Train what came nearest to the limit, whatever its latency; None where no trial failed for that."""
        slow = [each for each in study.outcomes if each.violation]
        nearest = study.best or min(slow, key=lambda each: each.violation, default=None)
        if nearest is None:
            return None
        self.trainer.limit = math.inf
        return self._trained(nearest, max(1.0, self.settings.seconds / self.settings.trials))

    def _trained(self, told: "trials.Outcome", seconds: float) -> Candidate:
        from fleetml.learn.study.space import in_family

        deadline = math.inf if self.counted else time.monotonic() + seconds
        return self.trainer.train(*in_family(told.params), deadline, lambda epoch, score: None)


def turn(trial: "Trial", turns: int, workers: int) -> float:
    """Return when the training of a trial should end [monotonic s]: the study's time is shared until so many trials had their turn."""
    now, handover = time.monotonic(), HANDOVER * (workers > 1)
    own, all_of_it = (max(end - handover - now, 1.0) for end in (trial.deadline, trial.study_end))
    return now + min(own, all_of_it / max(1, math.ceil((turns - trial.number) / workers)))


def kept(result: Result) -> Iterator[tuple[int, Candidate]]:
    """Yield the trials that kept their graph, by number, the best first, the feasible alone; a graph is read when it is asked for."""
    study = result.study
    if study is None:
        return
    feasible = [each for each in study.outcomes if each.values and not each.violation and each.number in study.kept]
    for told in sorted(feasible, key=lambda each: (each.value, each.number)):
        yield told.number, _kept(told, study.kept[told.number])


def _kept(best: "trials.Outcome", path: Path) -> Candidate:
    import onnx

    from fleetml.learn.study.space import in_family

    graph = onnx.load_from_string(path.read_bytes())
    return Candidate(graph, *in_family(best.params), best.value, best.notes["latency_ms"], best.notes["size_bytes"])


def _outcome(told: "trials.Outcome") -> Outcome:
    """Return a line of the leaderboard."""
    from fleetml.learn.study.space import in_family

    family, hyperparameters = in_family(told.params)
    states = {"complete": "trained", "pruned": "pruned"}
    state = "infeasible" if told.violation else states.get(told.state, "failed")
    return Outcome(
        trial=told.number,
        family=family,
        hyperparameters=json.dumps(hyperparameters),
        state=state,
        validation_mase=told.value if state == "trained" else math.nan,
        seconds=told.seconds,
        size_bytes=told.notes.get("size_bytes", 0),
        latency_ms=told.notes.get("latency_ms", math.nan),
        reason=told.reason or told.notes.get("reason", ""),
    )


def check_budget(
    trials: int, timeout_seconds: float, latency_limit_ms: float = math.inf, size_limit_mb: float = math.inf
) -> None:
    """Check a search's parameters before data or libraries are loaded. Raises InvalidParameter."""
    for name, value, least in (("trials", trials, 1), ("timeout_seconds", timeout_seconds, 1)):
        if not value >= least:
            raise InvalidParameter(f"parameter {name!r} of a search must be at least {least}, got {value}; raise it")
    for name, limit, unit in (("latency_limit_ms", latency_limit_ms, "ms"), ("size_limit_mb", size_limit_mb, "MB")):
        if not limit > 0:
            raise InvalidParameter(
                f"parameter {name!r} of a search must be positive, got {limit}; give a limit in {unit}"
            )


def judge(graph: "onnx.ModelProto", windows: Windows, latency_limit_ms: float = math.inf) -> Candidate:
    """Return a finished graph as a candidate: scored and timed by ONNX Runtime. Raises TooSlow, with its error."""
    found = judged(graph, windows, latency_limit_ms)
    if found.latency_ms > latency_limit_ms:
        raise TooSlow(found.latency_ms, latency_limit_ms, found.validation_mase)
    return found


def judged(graph: "onnx.ModelProto", windows: Windows, latency_limit_ms: float = math.inf) -> Candidate:
    """Return a finished graph as a candidate, one above the limit too; it is measured again, thrice at most, while it is."""
    from fleetml.learn.forecaster import Forecaster
    from fleetml.learn.graph import describe
    from fleetml.learn.metrics import mase

    content = graph.SerializeToString()
    found = describe(graph)
    score = mase(windows, Forecaster(content).forecast(windows))
    try:
        latency_ms = check_latency(graph, latency_limit_ms)
    except TooSlow as slow:
        latency_ms = slow.latency_ms
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
