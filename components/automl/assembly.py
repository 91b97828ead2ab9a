"""From the trials of a study to ONE proven graph inside its limits, or the nearest one, named so."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from components.automl import calibration, ensemble, finish, trials
from components.automl.finish import Limits, Part
from components.automl.given import Problem
from components.automl.losses import Said
from components.automl.trials import Evaluated
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.tables import fit
from fleetml.learn.tables.assemble import Combination, Ensemble, Weights
from fleetml.learn.tables.equality import Equality, prove
from fleetml.learn.tables.members import NODE_MS, Member, member
from fleetml.learn.tables.model import TabularModel
from fleetml.learn.tables.transformations import arrays

log = logging.getLogger(__name__)
MOST_CANDIDATES, MOST_ROWS = 30, 10_000  # of which is chosen, by which is chosen
COPIES = 2  # of the candidates' answers in memory
PROOF_ROWS = 2_000
MOST_VARIED = 10
LEAST_RUNS, MOST_SECONDS = 8, 0.5  # of one round of timing
LAST_SECONDS = 3.0  # for one member where the time for all was not enough for one
LATE = "no time was left to put more than one together"
OVER = "the graph is over its limits of latency or size with it"
BAD = "its graph does not say what its Python model does"


@dataclass(frozen=True)
class Chosen:
    """How trials answer together; `loss`, `error` (expected, of the calibration) on rows their models had not seen."""

    combination: Combination
    temperature: float = 1.0
    loss: float = float("nan")
    error: float = 0.0
    how: str = "one model"


@dataclass(frozen=True)
class Found:
    """The end of a search: `weights` and `ways` by the number of a trial that answers along, `dropped` why another does not.

    p50_ms and p99_ms are those of one row on one thread, `met` whether size and latency are within their limits, of latency the
    median within half of it or the p99 within all of it; `row_ms` and
    `inside`: the same as the choice sees it, which counts where the seed is to give the same bytes.
    """

    graph: bytes
    python: Ensemble
    chosen: Chosen
    proof: Equality
    p50_ms: float
    p99_ms: float
    row_ms: float
    inside: bool
    met: bool = True
    reason: str = ""
    weights: Mapping[int, float] = field(default_factory=dict)
    ways: Mapping[int, str] = field(default_factory=dict)
    dropped: Mapping[int, str] = field(default_factory=dict)


def candidates(
    problem: Problem, kept: Mapping[int, Path], order: Sequence[int], memory_mb: int
) -> tuple[dict[int, Evaluated], str]:
    """Return the best trials (`order`: their numbers, the best first), and in words if memory is too small for the usual number.

    What they say is read, their models stay in their files: half of the memory (0: any) is for the answers and a copy.
    """
    half = memory_mb * 2**20 / 2 if memory_mb else math.inf
    most = max(1, int(min(MOST_CANDIDATES, half / (len(problem.target) * problem.classes * 8 * COPIES))))
    known = [number for number in order if number in kept][:most]
    wanted = min(len(order), MOST_CANDIDATES)
    told = f"memory_mb={memory_mb} holds the answers of {len(known)} trials, not of {wanted}; the ensemble is made of these"
    return {number: trials.read(kept[number]) for number in known}, told if len(known) < wanted else ""


def choose(problem: Problem, found: Mapping[int, Evaluated], deadline: float = math.inf) -> tuple[list[int], Chosen]:
    """Return the numbers of the trials that answer together, and how; found by `deadline` [monotonic s], be they the best or not."""
    numbers = list(found)
    judged = _judged(problem, [one.said for one in found.values()])
    said, truth = {number: found[number].said[judged] for number in numbers}, problem.target[judged]
    weights = ensemble.greedy(list(said.values()), truth, problem.loss, problem.seed, deadline)
    kept = [number for number, weight in zip(numbers, weights.values, strict=True) if weight > 0]
    by: Combination = Weights(tuple(weight for weight in weights.values if weight > 0))
    how, varied = "one model" if len(kept) == 1 else "greedy selection", _varied(found, kept)
    answers = said[kept[0]] if len(kept) == 1 else _unseen(problem, said, kept, truth, deadline, layer=False)
    if len(kept) > 1 and time.monotonic() > deadline:  # what is nested stopped short: it is not what answers
        answers = ensemble.combined([said[number] for number in kept], by)
    if len(varied) > 1 and ensemble.layered(truth, problem.classes) and time.monotonic() < deadline:
        layered, plain = _unseen(problem, said, varied, truth, deadline, layer=True), problem.loss(truth, answers)
        if (loss := problem.loss(truth, layered)) < plain:
            how = f"a layer fitted to all ({loss:.5g} against {plain:.5g} of greedy weights)"
            by, answers = ensemble.fitted([said[number] for number in varied], truth), layered
            kept = varied
    if isinstance(by, Weights):
        kept = [number for number, value in zip(kept, by.values, strict=True) if value > 0]
        by = Weights(tuple(value for value in by.values if value > 0))
    if not problem.classifies:
        return kept, Chosen(by, loss=problem.loss(truth, answers), how=how)
    degree = calibration.temperature(answers, truth)
    answers = calibration.scaled(answers, degree)
    return kept, Chosen(by, degree, problem.loss(truth, answers), calibration.expected_error(answers, truth), how)


def _unseen(
    problem: Problem,
    said: Mapping[int, Said],
    numbers: Sequence[int],
    truth: npt.NDArray[Any],
    deadline: float,
    *,
    layer: bool,
) -> Said:
    asked = [said[number] for number in numbers]
    return ensemble.nested(asked, truth, problem.loss, problem.seed, layer=layer, deadline=deadline)


def _varied(found: Mapping[int, Evaluated], chosen: Sequence[int]) -> list[int]:
    """Return the chosen trials and the best one of each family."""
    best: dict[str, int] = {}
    for number, made in found.items():  # the best first
        best.setdefault(made.algorithm, number)
    return list(dict.fromkeys([*chosen, *best.values()]))[:MOST_VARIED]


def _judged(problem: Problem, said: Sequence[Said]) -> npt.NDArray[np.int64]:
    """Return the rows that every trial was judged by."""
    rows = np.flatnonzero(np.isfinite(np.stack(said)).all(axis=(0, 2)))
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(problem.seed).permutation(rows)[:MOST_ROWS])
    return rows


def assemble(problem: Problem, found: Mapping[int, Evaluated], limits: Limits) -> Found:
    """Return the graph of what the trials found; the best constant where nothing could be made of them in time."""
    if not found:
        return constant(problem, "the budget was too small for one trial", limits)
    numbers, chosen = choose(problem, found, limits.chosen)
    wanted = {number: found[number] for number in numbers}
    weights = dict(zip(numbers, _shares(chosen.combination, len(numbers)), strict=True))
    parts, ways = finish.plan(wanted, weights, limits, ordered=problem.validation.ordered)
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
            bags, ways = _least(bags, limits, dropped, LATE)
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
            said = {each: ways.get(each, finish.ONE) for each in numbers}
            told = replace(result, weights=shares, ways=said, dropped=dropped)
            return told if result.inside or late else _inside(problem, found, made, limits, told)
        rest = result.row_ms - sum(limits.cost(one) for bag in bags.values() for one in bag)
        if len(bags) == 1 or rest > limits.median_ms:  # a bag itself is too much, or the columns' preparation is
            bags, ways = _least(bags, limits, dropped, OVER)
            continue
        slowest = max(bags, key=lambda each: sum(limits.cost(one) + one.bytes / 1e6 for one in bags[each]))
        dropped[slowest] = OVER
        del bags[slowest]
    return constant(problem, "no member could be made and proven within the budget", limits, dropped)


def _least(
    bags: Mapping[int, tuple[Member, ...]], limits: Limits, dropped: dict[int, str], why: str
) -> tuple[dict[int, tuple[Member, ...]], dict[int, str]]:
    """Return the quickest trial's one member, and how it is finished; the others are dropped."""
    least = min(bags, key=lambda each: limits.cost(bags[each][0]))
    dropped |= dict.fromkeys((number for number in bags if number != least), why)
    return {least: bags[least][:1]}, {least: finish.ONE}


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
            return replace(result, weights={number: 1.0}, ways={number: finish.ONE}, dropped=dropped)
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
    by = finish.spread(chosen.combination, [len(bag) for bag in bags.values()])
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
    inside = row <= limits.median_ms and not large
    said = f"one row takes {p50:.2f} ms, one in a hundred {p99:.2f} of {limits.latency_ms:g}" if slow else ""
    if large:
        said = f"the graph has {len(content) / 1e6:.1f} MB of {limits.size_mb:g}"
    return Found(content, python, chosen, proof, p50, p99, row, inside, not said, said and f"best effort: {said}")


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
