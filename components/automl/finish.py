"""From the configurations that answer together to members of a graph: bags of the folds' models, or one fitted to all rows."""

import logging
import math
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from components.automl import portfolio
from components.automl.given import Problem
from components.automl.trials import Evaluated, refitted
from fleetml.learn.study import loop
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.trial import Trial
from fleetml.learn.tables.assemble import Combination, Stacking, Weights
from fleetml.learn.tables.members import Member, member
from fleetml.learn.tables.trained import ALL

log = logging.getLogger(__name__)
BAG, REFIT, ONE = "bag of folds", "refitted", "one fold"
BOTH = "bag of folds, and refitted"
# What one fitted to all rows counts beside a bag of folds. By held rows (seven sets, six configurations): as a third 2 % better than the bag
# alone where there is little noise, at most .5 % worse where there is much; alone 4 % better and 5 % worse
WHOLE_SHARE = 1 / 3
_QUICK, MOST_LATE = 0.6, 3.0  # seconds
LEAST_TREES = 0.25  # of a forest's
_ROUNDING = 1e-6  # megabytes
_USABLE = 0.75  # of the time left is planned with
# Of latency_ms, the most that the median may take: the slowest row of a hundred takes up to twice the median where nothing else runs
# (kr-vs-kp: 6.3 ms and 12.6), and a search must not depend on the p99 of a busy machine
MEDIAN_SHARE = 0.5


@dataclass(frozen=True)
class Limits:
    """What a graph may take: one row on one thread [ms], its file [MB], memory once it is loaded [MB]; and what making it may.

    Members are chosen by `chosen`, made by `deadline`, put together by `end` [time.monotonic()]: then what is there is taken.
    """

    latency_ms: float
    size_mb: float
    deadline: float
    workers: int
    memory_mb: int
    chosen: float = math.inf
    end: float = math.inf
    footprint_mb: float = math.inf

    @property
    def median_ms(self) -> float:
        """The most that the median of one row may take, so that one row in a hundred keeps `latency_ms`, too."""
        return MEDIAN_SHARE * self.latency_ms

    @property
    def seeded(self) -> bool:
        """Whether the same seed must give the same bytes: then what is counted decides, and nothing that is measured."""
        return self.workers == 1

    def later(self, seconds: float) -> "Limits":
        """Return the limits where the trials ended so many seconds late: what follows is given its time yet, at most 3 s on top."""
        late = min(max(0.0, seconds), MOST_LATE)
        return replace(self, chosen=self.chosen + late, deadline=self.deadline + late, end=self.end + late)

    def cost(self, one: Member) -> float:
        """Return what one row of a member takes [ms]: by measurement, or by count."""
        return one.estimated_ms if self.seeded else one.p50_ms


@dataclass(frozen=True)
class Part:
    """One member to be made: of which trial, from which fold's model (`ALL`: fitted to all rows), of a forest with which share of its trees."""

    trial: int
    model: int
    trees: float = 1.0


def plan(
    found: Mapping[int, Evaluated], weights: Mapping[int, float], limits: Limits, *, ordered: bool, classifies: bool
) -> tuple[list[Part], dict[int, str]]:
    """Return the parts in the order of the trials' weights, and how each trial is finished; one that would take too long is not.

    Networks and boosted trees gain from a bag, trees that tell values from one fitted to all rows beside it, too; forests are bags; where
    a bag takes too much time or room, one model does. Forests that
    would leave no room for the others are fitted with fewer trees, each with the same share. No bag of folds that are `ordered` in
    time: the early ones knew only the oldest rows.
    """
    seconds = _USABLE * limits.workers * max(0.0, limits.deadline - time.monotonic())
    room, parts, ways = _USABLE * limits.size_mb, [], {}
    thinned = _trees(list(found.values()), room)
    for trial in sorted(found, key=lambda each: -weights[each]):
        made = found[trial]
        fold, count = made.seconds / max(1, len(made.curve)), made.count
        trees = thinned if made.algorithm in portfolio.FORESTS else 1.0
        fitted = trees * (1.4 * fold + made.convert_seconds)
        bag = [Part(trial, each) for each in range(count)]
        bagged, megabytes = count * made.convert_seconds, count * made.graph_mb
        options = {
            BOTH: (bagged + fitted, megabytes + made.graph_mb, [*bag, Part(trial, ALL)]),
            BAG: (bagged, megabytes, bag),
            REFIT: (fitted, trees * made.graph_mb, [Part(trial, ALL, trees)]),
            ONE: (made.convert_seconds, made.graph_mb, [one(trial, made)]),
        }
        if made.algorithm in portfolio.NETWORKS:
            del options[REFIT]  # nothing would tell it when to stop
        if ordered or count == 1 or made.algorithm not in (*portfolio.BOOSTED, *portfolio.NETWORKS):
            del options[BAG]
        if BAG not in options or classifies or made.algorithm in portfolio.NETWORKS:
            del options[BOTH]
        for way, (takes, megabytes, wanted) in options.items():
            if takes <= seconds and megabytes <= room + _ROUNDING:
                less = f", {trees:.0%} of its trees" if way == REFIT and trees < 1 else ""
                seconds, room, ways[trial] = seconds - takes, room - megabytes, way + less
                parts += wanted
                break
    return parts, ways


def _trees(found: Sequence[Evaluated], room: float) -> float:
    """Return the share of their trees with which forests fit into the room [MB] beside one model of each other trial; 1 where all do."""
    forests = sum(made.graph_mb for made in found if made.algorithm in portfolio.FORESTS)
    others = sum(made.graph_mb for made in found if made.algorithm not in portfolio.FORESTS)
    return min(1.0, max(LEAST_TREES, (room - others) / forests)) if forests else 1.0


def one(trial: int, made: Evaluated) -> Part:
    """Return the model of the last fold: of those that are ordered in time it learnt from the most and latest rows."""
    return Part(trial, made.count - 1)


def spare(found: Mapping[int, Evaluated]) -> Part:
    """Return what is made first, whatever becomes of the rest: one model of the best trial among the quick to convert."""
    quickest = min(made.convert_seconds for made in found.values())
    quick = [trial for trial, made in found.items() if made.convert_seconds <= max(_QUICK, quickest)]
    return one(quick[0], found[quick[0]])


def members(
    problem: Problem, found: Mapping[int, Evaluated], parts: Sequence[Part], limits: Limits
) -> dict[Part, Member]:
    """Return the members that could be made in time, each in a process of its own, in the order of `parts`."""

    def make(trial: Trial) -> float:
        part = parts[trial.params["part"]]
        made = found[part.trial]
        model = refitted(problem, made, part.trees) if part.model == ALL else made.model(part.model)
        name = f"{made.algorithm}-{part.trial}-{part.model}"
        one = member(problem.heads, made.algorithm, model, problem.classifies, name=name, fold=part.model)
        trial.keep(pickle.dumps(one))
        return 0.0

    left = limits.deadline - time.monotonic()
    if not parts or left <= 0:
        return {}
    from optuna.distributions import CategoricalDistribution

    settings = StudySettings(
        trials=len(parts),
        seconds=left,
        trial_seconds=left,
        sampler="random",
        workers=limits.workers,
        memory_mb=limits.memory_mb,
        seed=problem.seed,
        logged=False,  # they are no trials, and have no loss
    )
    space = {"part": CategoricalDistribution(list(range(len(parts))))}
    done = loop.run(make, space, settings, [{"part": number} for number in range(len(parts))])
    complete = {parts[each.params["part"]]: each.number for each in done.outcomes if each.state == "complete"}
    log.info("%d of %d members of the model were made in %.1f s", len(complete), len(parts), done.seconds)
    for each in done.outcomes:
        if each.state != "complete":
            number = parts[each.params["part"]].trial
            log.info("no member was made of %s-%d: %s", found[number].algorithm, number, each.reason)
    read = {part: done.kept[complete[part]].read_bytes() for part in parts if part in complete}
    return {part: pickle.loads(content) for part, content in read.items()}  # noqa: S301 - our own processes wrote it


def finished(bag: Sequence[Member], planned: str) -> str:
    """Return how a trial is finished by the members that were made of it, which may be fewer than what was `planned`."""
    whole = sum(one.fold == ALL for one in bag)
    if whole == len(bag):
        return planned if planned.startswith(REFIT) else REFIT
    if whole:
        return BOTH
    return BAG if len(bag) > 1 else ONE


def shares(folds: Sequence[int]) -> list[float]:
    """Return how much each member of a trial counts, their sum 1, by the fold it is of: all the same, of `ALL` rows `WHOLE_SHARE` in sum."""
    whole = folds.count(ALL)
    if whole in (0, len(folds)):
        return [1 / len(folds)] * len(folds)
    return [WHOLE_SHARE / whole if fold == ALL else (1 - WHOLE_SHARE) / (len(folds) - whole) for fold in folds]


def spread(by: Combination, parts: Sequence[Sequence[float]]) -> Combination:
    """Return a combination of trials as one of their members, whose `shares` each trial has."""
    if isinstance(by, Weights):
        return Weights(tuple(value * share for value, mine in zip(by.values, parts, strict=True) for share in mine))
    classes = len(by.bias)
    blocks = by.matrix.reshape(len(parts), classes, classes)
    rows = [blocks[at] * share for at, mine in enumerate(parts) for share in mine]
    return Stacking(np.concatenate(rows).astype(np.float32), by.bias, by.classifies)
