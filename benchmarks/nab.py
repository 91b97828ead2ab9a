"""The novelty detector on NAB's 58 series (../shared/data/nab), by NAB's score, beside the published detectors.

Settings are chosen by half of the series for the other half, and the reverse (`cross-fit`); as in every published row, one threshold
over all series is then the best there is. `threshold too` keeps the one that the other half chose. The graph of the settings
that all series choose is run on steps of each series and compared with Python, which says the rest.

The method and the settings offered were found with all series in view: only the choice among them is held out.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.cells import RESULTS
from benchmarks.nab_scorer import PROFILES, Numbers, at, best, normalised
from benchmarks.nab_series import REAL, Series, read, windowed_gaussian
from fleetml.learn import scorer
from fleetml.learn.forecaster import session
from fleetml.learn.window_anomaly import novelty
from fleetml.learn.window_anomaly.novelty import Settings

STANDARD = PROFILES["standard"]
GOALS = (51.7, 70.5)
SHOWN = ("ARTime", "numenta", "knncad", "relativeEntropy", "randomCutForest", "windowedGaussian", "random")
OFFERED = tuple(
    Settings(peak=peak, quiet=quiet, patterns=patterns, least=least, threshold=1.0)
    for peak, quiet, patterns, least in itertools.product(
        (300, 400), (100, 200), ((1,), (8,), (1, 8)), (0.05, 0.1, 0.2)
    )
)
_COMPARED = 12


def run() -> Iterator[tuple[str, float, str]]:
    """Yield NAB's score of ours and of the published, and the figures of the graph."""
    began, series = time.monotonic(), list(read())
    proof = best([one.labels for one in series], [windowed_gaussian(one.values) for one in series], STANDARD)
    yield "proof: windowed Gaussian by our scorer (published 39.6495)", proof.normalised, ""
    published = json.loads((REAL / "final_results.json").read_text())
    yield from ((f"published, {name}", published[name]["standard"], "") for name in SHOWN)
    said = _said(series)
    halves = [list(range(start, len(series), 2)) for start in (0, 1)]
    chosen = [_best_on(series, said, half) for half in halves]
    scores: list[Numbers] = [np.empty(0)] * len(series)
    for (settings, threshold), other in zip(chosen, reversed(halves), strict=True):
        for number in other:
            scores[number] = said[settings][number] / threshold
    labels = [one.labels for one in series]
    for profile, weights in PROFILES.items():
        figure = best(labels, scores, weights).normalised
        yield f"ours, cross-fit, {profile}", figure, _goal(figure) if profile == "standard" else ""
    raw = sum(at(1.0, one, score, STANDARD) for one, score in zip(labels, scores, strict=True))
    windows = sum(len(one.windows) for one in labels)
    yield "ours, cross-fit, threshold too", normalised(raw, windows, STANDARD), ""
    final, threshold = _best_on(series, said, range(len(series)))
    yield "ours, settings chosen on all series (not held out)", best(labels, said[final], STANDARD).normalised, ""
    _keep(chosen, (final, threshold))
    yield from _by_graph(series, replace(final, threshold=threshold), said[final])
    yield "taken", time.monotonic() - began, "s"


def _said(series: Sequence[Series]) -> dict[Settings, list[Numbers]]:
    """Return what each of the settings says of each series; distances are computed once."""
    found: dict[Settings, list[Numbers]] = {settings: [] for settings in OFFERED}
    first = OFFERED[0]
    for one in series:
        filled = np.concatenate([np.full(first.history - 1, one.values[0]), one.values])
        spread = novelty.spread(filled, first.history)
        patterns = {pattern for settings in OFFERED for pattern in settings.patterns}
        distances = {pattern: novelty.nearest(filled, pattern, first.past) for pattern in patterns}
        for settings, scores in found.items():
            scores.append(novelty.alarms([distances[pattern] for pattern in settings.patterns], spread, settings))
    return found


def _best_on(
    series: Sequence[Series], said: Mapping[Settings, list[Numbers]], numbers: Sequence[int]
) -> tuple[Settings, float]:
    """Return the settings, and the threshold, with the best score on these series."""
    labels = [series[number].labels for number in numbers]
    found = {
        settings: best(labels, [scores[number] for number in numbers], STANDARD) for settings, scores in said.items()
    }
    settings = max(found, key=lambda one: found[one].normalised)
    return settings, found[settings].threshold


def _by_graph(
    series: Sequence[Series], settings: Settings, said: Sequence[Numbers]
) -> Iterator[tuple[str, float, str]]:
    """Yield the largest difference of graph and Python on steps drawn from every series; size and time of the graph."""
    graph, drawn = novelty.graph(settings).SerializeToString(), np.random.default_rng(0)
    loaded, far = session(graph), []
    for one, scores in zip(series, said, strict=True):
        filled = np.concatenate([np.full(settings.history - 1, one.values[0]), one.values])
        steps = np.unique(np.append(drawn.integers(0, len(scores), _COMPARED), np.argsort(-scores)[:_COMPARED]))
        windows = np.stack([filled[step : step + settings.history] for step in steps]).astype(np.float32)
        answers = [loaded.run(["score"], {"history": windows[row : row + 1]})[0][0, 0] for row in range(len(windows))]
        far.append(np.abs(np.array(answers) - scores[steps] / settings.threshold))
    every = np.concatenate(far)
    yield (
        f"graph and Python on {len(every)} steps: share farther apart than .01",
        100 * float((every > 0.01).mean()),
        "%",
    )
    yield "graph: size", len(graph) / 1000, "kB"
    p50, p99 = scorer.latency(graph)
    yield "graph: p50 of a step", p50, "ms"
    yield "graph: p99 of a step", p99, "ms"


def _goal(figure: float) -> str:
    return " ".join(f"({'met' if figure >= goal else 'NOT MET'}: at least {goal:g})" for goal in GOALS)


def _keep(chosen: Sequence[tuple[Settings, float]], final: tuple[Settings, float]) -> None:
    """Add the settings each half chose to results/nab.jsonl."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "nab.jsonl").open("a") as file:
        for who, (settings, threshold) in zip(
            ("even series", "odd series", "all series"), (*chosen, final), strict=True
        ):
            file.write(json.dumps({"chosen by": who, **vars(settings), "threshold": threshold}) + "\n")
