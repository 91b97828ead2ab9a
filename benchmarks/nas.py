"""Architecture search on the bandwidth of 150 VMs (needs ../shared): what proxies and inherited weights are worth, which sampler finds more.

    python -m benchmarks nas                # BENCH_MINUTES (30) bounds it; goes on where it was left

30 architectures drawn at random are trained by the recipe of the search (12 epochs at most). Spearman's correlation of each proxy with
the error after training says whether it could choose in its place; that of the error after 1 and 3 epochs, which is what pruning goes
by, stands beside. Each is also changed in one gene: the child is trained for 3 epochs from new weights and from its parent's.
Then four samplers search for 16 trials each, counted, two seeds. Errors are MASE of validation windows, of which none was trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import bandwidth, cells
from benchmarks.cells import Cell
from fleetml.learn import flat_space, gift_eval
from fleetml.learn.architectures import FAMILIES
from fleetml.learn.windows import Windows

NAME = "nas"
DATA = "bitbrains bandwidth"
ARCHITECTURES, SHORT = 30, 3
SAMPLERS, TRIALS = ("random", "auto", "evolution", "reinforce"), 16
WORTH = 0.4  # the correlation that a proxy must reach to be used
TASK = gift_eval.task("5T/short")
CONTEXT = 288
# Steps of the month at which windows of training, and of validation, have their origin
TRAINED, VALIDATED = (300, 7_000), (7_100, 8_500)
ORIGINS, SEED = 10, 0


def run() -> Iterator[tuple[str, float, str]]:
    """Yield the correlations, what inherited weights gain, and the best error of each sampler."""
    if not bandwidth.FILE.exists():
        yield "skipped: ../shared/data/bitbrains_rnd is not there", 0.0, ""
        return
    wanted = [Cell(NAME, "architecture", DATA, 0, seed, 90.0) for seed in range(ARCHITECTURES)]
    wanted += [Cell(NAME, sampler, DATA, 0, seed, 240.0) for seed in range(2) for sampler in SAMPLERS]
    done = cells.run(wanted, _command, NAME, float(os.environ.get("BENCH_MINUTES", "30")))
    print(f"{NAME}: {done}", flush=True)
    told = {cell: line["figures"] for cell, line in cells.latest(NAME).items() if "failed" not in line["figures"]}
    trained = [figures for cell, figures in told.items() if cell.system == "architecture"]
    if len(trained) > 2:
        yield from _correlations(trained)
        yield from _inheritance(trained)
    for sampler in SAMPLERS:
        best = [figures["mase"] for cell, figures in told.items() if cell.system == sampler]
        if best:
            yield f"{sampler}: best MASE of {TRIALS} trials, mean of {len(best)} seeds", float(np.mean(best)), ""


def _correlations(trained: list[dict[str, Any]]) -> Iterator[tuple[str, float, str]]:
    errors = [figures["mase"] for figures in trained]
    yield f"architectures trained: best MASE of {len(trained)}", min(errors), f"worst {max(errors):.4f}"
    for name in trained[0]["proxies"]:
        over_all, within = _spearman(trained, lambda figures, name=name: -figures["proxies"][name])
        told = "pays" if min(over_all, within) > WORTH else "does not pay"
        yield f"Spearman with the error: {name}", over_all, f"{within:.3f} within families: {told}"
    for epochs in trained[0]["early"]:
        over_all, within = _spearman(trained, lambda figures, epochs=epochs: figures["early"][epochs])
        yield (
            f"Spearman with the error: error after {epochs} epochs (pruning)",
            over_all,
            f"{within:.3f} within families",
        )
    over_all, within = _spearman(trained, lambda figures: -figures["hyperparameters"]["learning_rate"])
    yield "Spearman with the error: learning rate", over_all, f"{within:.3f} within families"


def _spearman(trained: list[dict[str, Any]], said: Callable[[dict[str, Any]], float]) -> tuple[float, float]:
    """Return the rank correlation of what is said with the error, over all and the mean within families.

    A proxy that only tells one family from another chooses nothing: the defaults of all are tried first anyway.
    """
    from scipy.stats import spearmanr

    def correlation(some: list[dict[str, Any]]) -> float:
        return float(spearmanr([said(each) for each in some], [each["mase"] for each in some]).statistic)

    families = {figures["family"] for figures in trained}
    within = [correlation([each for each in trained if each["family"] == family]) for family in sorted(families)]
    return correlation(trained), float(np.mean([each for each in within if not np.isnan(each)]))


def _inheritance(trained: list[dict[str, Any]]) -> Iterator[tuple[str, float, str]]:
    gains = np.array([figures["child new"] - figures["child inherited"] for figures in trained])
    yield f"inherited weights: MASE gained by a child after {SHORT} epochs, median", float(np.median(gains)), ""
    yield "inherited weights: children that gain", float((gains > 0).mean()), "share"
    ahead = np.array([figures["child inherited"] - figures["child whole"] for figures in trained])
    yield (
        f"inherited, {SHORT} epochs: MASE above that of 12 epochs from new weights, median",
        float(np.median(ahead)),
        "",
    )


def _command(cell: Cell) -> list[str]:
    return [sys.executable, "-m", "benchmarks.nas", "--cell", cell.text]


def splits() -> tuple[Windows, Windows]:
    """Return windows of training and of validation; histories are filled forward, scales bounded below as the pipeline's are."""
    values, random = bandwidth.series(), np.random.default_rng(SEED)
    places = [np.sort(random.choice(np.arange(*span), ORIGINS, replace=False)) for span in (TRAINED, VALIDATED)]
    return _cut(values, places[0]), _cut(values, places[1])


def _cut(values: gift_eval.Values, places: np.ndarray) -> Windows:
    windows = gift_eval.cut(values, places, TASK, CONTEXT)
    least = 0.05 * float(np.nanmedian(windows.scale[windows.scale > 0]))
    history = gift_eval.forward_filled(windows.history.astype(np.float64)).astype(np.float32)
    bounded = replace(
        windows,
        history=np.nan_to_num(history),
        scale=np.maximum(np.nan_to_num(windows.scale), least),
        meta=replace(windows.meta, target="bandwidth"),
    )
    return bounded[~np.isnan(windows.target).all(axis=1)]


def _architecture(seed: int) -> dict[str, Any]:
    """Draw an architecture, judge it untrained, train it; then a child of it, thrice."""
    from benchmarks.nas_proxies import inherit, proxies
    from fleetml.learn import flops, training
    from fleetml.learn.neural_trainer import NeuralTrainer

    trainer = NeuralTrainer(*splits(), seed=SEED)
    parent, child = _drawn(seed)
    network = trainer.untrained(*parent)
    figures: dict[str, Any] = {"family": parent[0], "hyperparameters": parent[1]}
    figures["proxies"] = proxies(network, trainer.train_examples)
    early: dict[int, float] = {}
    candidate = trainer.trained(network, parent[1], float("inf"), lambda epoch, score: early.update({epoch + 1: score}))
    cost = flops.count(candidate.graph)
    figures["proxies"] |= {"parameters": cost.parameters, "operations": cost.operations}
    figures |= {"mase": candidate.validation_mase, "early": {epochs: early[epochs] for epochs in (1, SHORT)}}
    for name, epochs in (("child new", SHORT), ("child inherited", SHORT), ("child whole", 12)):
        grown = trainer.untrained(*child)
        if name == "child inherited":
            figures["inherited"] = inherit(grown, network)
        recipe = training.Recipe(child[1]["learning_rate"], child[1]["weight_decay"], epochs=epochs)
        figures[name] = training.fit(grown, trainer.train_examples, trainer.val_examples, recipe, SEED)
    return figures


def _drawn(seed: int) -> tuple[Any, Any]:
    """Return an architecture, each family as often, and the same with its width or another gene changed."""
    from fleetml.learn.study.positions import drawn

    random = np.random.default_rng(seed)
    space = flat_space.flat(FAMILIES)
    point = {name: drawn(each, random.random()) for name, each in space.items()}
    point["family"] = list(FAMILIES)[seed % len(FAMILIES)]
    changed = str(random.choice(["width", "width", "depth", "kernel_or_patch"]))
    other = {**point, changed: drawn(space[changed], random.random())}
    return flat_space.point(point, FAMILIES), flat_space.point(other, FAMILIES)


def _searched(sampler: str, seed: int) -> dict[str, Any]:
    """Search as the stage does, counted: the same trials on every machine."""
    from components.nas.objective import Objective
    from components.nas.space import searched
    from fleetml.learn.limits import Limits
    from fleetml.learn.neural_trainer import NeuralTrainer
    from fleetml.learn.study import loop
    from fleetml.learn.study.settings import StudySettings

    space = searched(sampler)
    objective = Objective(NeuralTrainer(*splits(), seed=SEED), space.point, Limits(), counted=True)
    settings = StudySettings(trials=TRIALS, sampler=sampler, pruner="median", seed=seed)
    found = loop.run(objective, space.distributions, settings, space.starts)
    if found.best is None:
        return {"failed": found.outcomes[0].reason}
    return {"mase": found.best.value, "curve": [each.value for each in found.outcomes if each.values]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cell", required=True)
    asked = Cell.of(parser.parse_args().cell)
    print(
        json.dumps(_architecture(asked.seed) if asked.system == "architecture" else _searched(asked.system, asked.seed))
    )
