"""From the trials of a study to ONE proven graph inside its limits, or the nearest one, named so."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from components.automl import finish
from components.automl.choice import Chosen, choose
from components.automl.finish import Limits, Part
from components.automl.given import Problem
from components.automl.trials import Evaluated
from fleetml.learn import footprint
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.study.trial import Outcome
from fleetml.learn.tables import fit
from fleetml.learn.tables.assemble import Combination, Ensemble, Weights
from fleetml.learn.tables.equality import Equality, prove
from fleetml.learn.tables.members import NODE_MS, Member, member
from fleetml.learn.tables.model import TabularModel
from fleetml.learn.tables.transformations import arrays

log = logging.getLogger(__name__)
PROOF_ROWS = 2_000
LEAST_RUNS, MOST_SECONDS = 8, 0.5  # of one round of timing
LAST_SECONDS = 3.0  # for one member where the time for all was not enough for one
LATE = "no time was left to put more than one together"
OVER = "the graph is over its limits of latency, size or memory with it"
BAD = "its graph does not say what its Python model does"


@dataclass(frozen=True)
class Found:
    """The end of a search: `weights` and `ways` by the number of a trial that answers along, `dropped` why another does not.

    p50_ms and p99_ms are those of one row on one thread, `met` whether size and latency are within their limits, of latency the
    median within half of it or the p99 within all of it, and after `weighed` memory, too, of which the graph takes `memory_mb`; `row_ms` and
    `inside`: the same as the choice sees it, which counts memory, and all where the seed is to give the same bytes.
    """

    graph: bytes
    python: Ensemble
    chosen: Chosen
    proof: Equality
    p50_ms: float
    p99_ms: float
    row_ms: float
    inside: bool
    memory_mb: float = math.nan
    met: bool = True
    reason: str = ""
    weights: Mapping[int, float] = field(default_factory=dict)
    ways: Mapping[int, str] = field(default_factory=dict)
    dropped: Mapping[int, str] = field(default_factory=dict)


def unfinished(outcomes: Sequence[Outcome], seconds: float, before: float) -> str:
    """Return why no trial of a budget of so many `seconds` was finished, of which `before` had gone as the first one began."""
    why: dict[str, list[str]] = {}
    for each in outcomes:
        why.setdefault(each.state, []).append(each.reason)
    told = "; ".join(f"{len(reasons)} {state}, {reasons[0] or 'without a reason'}" for state, reasons in why.items())
    return f"no trial was finished, of a budget of {seconds:g} s {before:.1f} s had gone before the first: {told}"


def assemble(problem: Problem, found: Mapping[int, Evaluated], limits: Limits) -> Found:
    """Return the graph of what the trials found, which is not nothing; the best constant where no member could be made of them."""
    numbers, chosen = choose(problem, found, limits.chosen)
    wanted = {number: found[number] for number in numbers}
    weights = dict(zip(numbers, _shares(chosen.combination, len(numbers)), strict=True))
    parts, ways = finish.plan(
        wanted, weights, limits, ordered=problem.validation.ordered, classifies=problem.classifies
    )
    spare = finish.spare(found)
    wanted |= {spare.trial: found[spare.trial]}
    made = finish.members(problem, wanted, [spare, *(part for part in parts if part != spare)], limits)
    if not made:  # a model that is some seconds late is worth more than the constant
        made = finish.members(problem, wanted, [spare], replace(limits, deadline=time.monotonic() + LAST_SECONDS))
    if spare not in parts and len(made) > 1:
        made.pop(spare, None)
    bags = {number: tuple(one for part, one in made.items() if part.trial == number) for number in wanted}
    bags = {number: bag for number, bag in bags.items() if bag}
    dropped = {number: "no time or no room was left to make it" for number in numbers if number not in bags}
    while bags:
        if late := time.monotonic() > limits.end:
            bags = _least(bags, limits, dropped, LATE)
        numbers, chosen = choose(problem, {number: found[number] for number in bags}, limits.end)
        bags = {number: bags[number] for number in numbers}
        python = _python(problem, bags, chosen)
        graph = python.graph()
        try:
            proof = prove(graph, python.predict, problem.frame[:: -(-len(problem.frame) // PROOF_ROWS)])
        except InvalidGraph as error:
            number = _wrong(problem, bags)
            log.warning("trial %d answers no longer along: %s", number, error)
            dropped[number] = BAD
            del bags[number]
            continue
        result = _measured(problem, graph, python, chosen, proof, limits)
        if result.inside or sum(map(len, bags.values())) == 1:
            shares = dict(zip(numbers, _shares(chosen.combination, len(numbers)), strict=True))
            said = {each: finish.finished(bag, ways.get(each, "")) for each, bag in bags.items()}
            told = replace(result, weights=shares, ways=said, dropped=dropped)
            return told if result.inside or late else _inside(problem, found, made, limits, told)
        rest = result.row_ms - sum(limits.cost(one) for bag in bags.values() for one in bag)
        if len(bags) == 1 or rest > limits.median_ms:  # a bag itself is too much, or the columns' preparation is
            bags = _least(bags, limits, dropped, OVER)
            continue
        slowest = max(bags, key=lambda each: sum(limits.cost(one) + one.bytes / 1e6 for one in bags[each]))
        dropped[slowest] = OVER
        del bags[slowest]
    return constant(problem, "no member could be made and proven within the budget", limits, dropped)


def weighed(found: Found, limits: Limits) -> Found:
    """Return what was found with the memory that its graph takes, measured in a process of its own where it is limited."""
    if math.isinf(limits.footprint_mb):
        return found
    try:
        taken = footprint.measure({"model": found.graph})["model"]
        over = f"the graph takes {taken:.1f} MB of memory of {limits.footprint_mb:g}"
    except InvalidGraph as error:  # what cannot be loaded alone keeps no limit
        taken, over = math.inf, str(error)
    if taken <= limits.footprint_mb:
        return replace(found, memory_mb=taken)
    reason = f"{found.reason}; {over}" if found.reason else f"best effort: {over}"
    return replace(found, memory_mb=taken, met=False, reason=reason)


def _least(
    bags: Mapping[int, tuple[Member, ...]], limits: Limits, dropped: dict[int, str], why: str
) -> dict[int, tuple[Member, ...]]:
    """Return the quickest trial's one member; the others are dropped."""
    least = min(bags, key=lambda each: limits.cost(bags[each][0]))
    dropped |= dict.fromkeys((number for number in bags if number != least), why)
    return {least: bags[least][:1]}


def _inside(
    problem: Problem, found: Mapping[int, Evaluated], made: Mapping[Part, Member], limits: Limits, over: Found
) -> Found:
    """Return the graph of the quickest model of a trial that keeps the limits; `over`, the best effort, where none does."""
    lone = {part.trial: one for part, one in made.items() if over.dropped.get(part.trial) != BAD}
    known = {part.trial for part in made}
    small = sorted(set(found) - known, key=lambda each: found[each].pickled_mb)
    new = [finish.one(number, found[number]) for number in small]
    lone |= {part.trial: one for part, one in finish.members(problem, found, new, limits).items()}
    cost = {number: limits.cost(one) for number, one in lone.items()}
    within = [number for number in lone if cost[number] <= limits.median_ms and number not in over.weights]
    for place, number in enumerate(sorted(within, key=lambda each: cost[each])):
        if place and time.monotonic() > limits.deadline:
            break
        _, chosen = choose(problem, {number: found[number]})
        python = _python(problem, {number: (lone[number],)}, chosen)
        graph = python.graph()
        try:
            proof = prove(graph, python.predict, problem.frame[:: -(-len(problem.frame) // PROOF_ROWS)])
        except InvalidGraph:
            continue
        result = _measured(problem, graph, python, chosen, proof, limits)
        if result.inside:
            dropped = {**over.dropped, **dict.fromkeys(over.weights, OVER)}
            dropped.pop(number, None)
            ways = {number: finish.finished((lone[number],), "")}
            return replace(result, weights={number: 1.0}, ways=ways, dropped=dropped)
    return over


def constant(problem: Problem, reason: str, limits: Limits, dropped: Mapping[int, str] | None = None) -> Found:
    """Return the graph that says the same of every row: the classes' shares, or the mean."""
    rows = problem.rows("constant")
    task = fit.Task(problem.about.objective, rows, problem.target, rows, problem.target, problem.seed, 1)
    one = member(problem.heads, "constant", fit.fit("constant", task, {}), problem.classifies)
    chosen = Chosen(Weights((1.0,)), loss=problem.constant())
    python = Ensemble(problem.heads, (one,), chosen.combination, replace(problem.about, algorithm="constant"))
    graph = python.graph()
    proof = prove(graph, python.predict, problem.frame[:PROOF_ROWS])
    result = _measured(problem, graph, python, chosen, proof, limits)
    return replace(result, reason="; ".join(filter(None, (reason, result.reason))), dropped=dropped or {})


def _python(problem: Problem, bags: Mapping[int, tuple[Member, ...]], chosen: Chosen) -> Ensemble:
    members = tuple(one for bag in bags.values() for one in bag)
    by = finish.spread(chosen.combination, [finish.shares([one.fold for one in bag]) for bag in bags.values()])
    algorithms = {one.algorithm for one in members}
    about = replace(
        problem.about,
        algorithm="ensemble" if len(members) > 1 else members[0].algorithm,
        hyperparameters={
            "families": ", ".join(sorted(algorithms)),
            "members": len(members),
            "combination": chosen.how,
            "temperature": round(chosen.temperature, 4),
        },
    )
    return Ensemble(problem.heads, members, by, about, chosen.temperature)


def _wrong(problem: Problem, bags: Mapping[int, tuple[Member, ...]]) -> int:
    """Return the trial whose graph alone is not proven; the last where each is."""
    for number, bag in bags.items():
        python = _python(problem, {number: bag}, Chosen(Weights((1.0,))))
        try:
            prove(python.graph(), python.predict, problem.frame[:PROOF_ROWS])
        except InvalidGraph:
            return number
    return list(bags)[-1]


def _shares(by: Combination, count: int) -> list[float]:
    """Return how much each of the trials weighs, their sum 1."""
    if isinstance(by, Weights):
        return list(by.values)
    sizes = np.abs(by.matrix.reshape(count, -1)).sum(axis=1)
    return [float(size) for size in sizes / sizes.sum()]


def _measured(
    problem: Problem, graph: onnx.ModelProto, python: Ensemble, chosen: Chosen, proof: Equality, limits: Limits
) -> Found:
    content = graph.SerializeToString()
    p50, p99 = latency(content, problem)
    slow = p50 > limits.median_ms and p99 > limits.latency_ms
    large = len(content) / 1e6 > limits.size_mb
    own = sum(len(one.body.graph.node) for one in python.members)
    row = sum(one.estimated_ms for one in python.members) + (len(graph.graph.node) - own) * NODE_MS
    row = row if limits.seeded else p50
    counted = footprint.estimate(content) if math.isfinite(limits.footprint_mb) else math.nan
    inside = row <= limits.median_ms and not large and not counted > limits.footprint_mb
    said = f"one row takes {p50:.2f} ms, one in a hundred {p99:.2f} of {limits.latency_ms:g}" if slow else ""
    if large:
        said = f"the graph has {len(content) / 1e6:.1f} MB of {limits.size_mb:g}"
    why = said and f"best effort: {said}"
    return Found(content, python, chosen, proof, p50, p99, row, inside, counted, not said, why)


def latency(content: bytes, problem: Problem, runs: int = 60, rounds: int = 3) -> tuple[float, float]:
    """Return p50 and p99 [ms] of one row on one thread, of the best of several rounds: a neighbour's load is not ours."""
    model = TabularModel(content)
    feeds = arrays(problem.frame[:1], model.about.features)
    best = (np.inf, np.inf)
    for _ in range(rounds):
        times: list[float] = []
        while len(times) < runs and (len(times) < LEAST_RUNS or sum(times) < MOST_SECONDS):
            begun = time.perf_counter()
            model.session.run(None, feeds)
            times.append(time.perf_counter() - begun)
        p50, p99 = np.quantile(times, (0.5, 0.99)) * 1e3
        best = min(best, (float(p50), float(p99)))
    return best
