"""Regret after 25, 50 and 100 evaluations on seven tables of real trainings (needs ../shared): ours, random, Optuna's default, SMAC3.

python -m benchmarks hpo_tables; MINUTES=40 is the budget, and what is done is not done again. `auto`'s constants were chosen on
credit_g, car and protein_structure with seeds from 1000 on; it is judged on all seven with seeds from 0.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import cells, hpo_lookup
from benchmarks.cells import Cell
from benchmarks.goals import Figure

NAME = "hpo_tables"
SMAC = Path(__file__).parents[1] / ".venv/peers-hpo/bin/python"
JUDGED = ("auto", "random", "optuna_default", "smac3")
VARIANTS = ("gp", "gp_ucb", "gp_pi", "tpe", "evolution", "reinforce")
SEEDS, VARIANT_SEEDS = 20, 10
AT = ("25", "50", "100")


def run() -> Iterator[Figure]:
    """Yield the mean regrets of each system, over the tables, and whether ours is ahead."""
    if not hpo_lookup.DATA.exists():
        yield "skipped: ../shared/data is not there", 0.0, ""
        return
    minutes = float(os.environ.get("MINUTES", "40"))
    print(f"{NAME}: {cells.run(wanted(), command, NAME, minutes, lanes=os.cpu_count() or 1)}", flush=True)
    found = {cell: line["figures"] for cell, line in cells.latest(NAME).items() if "failed" not in line["figures"]}
    yield from summary(found)


def wanted() -> list[Cell]:
    """Return the cells, seed by seed: what is there when the time is over is paired."""
    judged = [(seed, system) for seed in range(SEEDS) for system in JUDGED if system != "smac3" or SMAC.exists()]
    variants = [(seed, system) for seed in range(VARIANT_SEEDS) for system in VARIANTS]
    return [
        Cell(NAME, system, table, 0, seed, 60.0) for seed, system in judged + variants for table in hpo_lookup.TABLES
    ]


def command(cell: Cell) -> list[str]:
    """Return what computes a cell."""
    if cell.system == "smac3":
        return [str(SMAC), "-m", "benchmarks.hpo_smac", cell.text]
    return [sys.executable, "-m", "benchmarks.hpo_tables", cell.text]


def summary(found: dict[Cell, dict[str, float]]) -> Iterator[Figure]:
    """Yield each system's mean over the tables of its mean over the seeds that all judged systems have done."""
    for names in (JUDGED, (*JUDGED, *VARIANTS)):
        means = {at: _means(found, names, at) for at in AT}
        for at in AT:
            for system in names if names == JUDGED else VARIANTS:
                if system in means[at]:
                    yield (
                        f"{system}: mean regret after {at}",
                        1000 * means[at][system],
                        "1/1000 of (worst - best)" + (_verdict(means[at]) if system == "auto" else ""),
                    )
    yield from _by_table(found)


def _verdict(means: dict[str, float]) -> str:
    peers = {name: value for name, value in means.items() if name in JUDGED and name != "auto"}
    best = min(peers, key=lambda name: peers[name], default="")
    if len(peers) < len(JUDGED) - 1:
        return f"  (not all peers have run: {', '.join(peers)})"
    met = means["auto"] < peers[best]
    return f"  ({'met' if met else 'NOT MET'}: below {best}'s {1000 * peers[best]:.3f})"


def _means(found: dict[Cell, dict[str, float]], systems: tuple[str, ...], at: str) -> dict[str, float]:
    """Return system -> mean over tables; each table over the seeds that every one of the systems has done."""
    by_table: dict[str, dict[str, list[float]]] = {}
    for table in hpo_lookup.TABLES:
        for seed in _paired(found, systems, table):
            for system in systems:
                value = found[_cell(system, table, seed)][at]
                by_table.setdefault(system, {}).setdefault(table, []).append(value)
    return {system: mean(map(mean, tables.values())) for system, tables in by_table.items()}


def _paired(found: dict[Cell, dict[str, float]], systems: tuple[str, ...], table: str) -> list[int]:
    return [seed for seed in range(SEEDS) if all(_cell(system, table, seed) in found for system in systems)]


def _cell(system: str, table: str, seed: int) -> Cell:
    return Cell(NAME, system, table, 0, seed, 60.0)


def _by_table(found: dict[Cell, dict[str, float]]) -> Iterator[Figure]:
    for table in hpo_lookup.TABLES:
        seeds = _paired(found, JUDGED, table)
        for system in JUDGED if seeds else ():
            values = [found[_cell(system, table, seed)]["100"] for seed in seeds]
            where = " (chosen on it)" if table in hpo_lookup.CHOSEN_ON and system == "auto" else ""
            yield f"{table}: {system} after 100{where}", 1000 * mean(values), f"1/1000, {len(seeds)} seeds"


def compute(cell: Cell) -> dict[str, float]:
    """Return the regrets of one of our samplers, or of Optuna's default."""
    table, losses = hpo_lookup.load(cell.data), []

    def loss(params: dict[str, Any]) -> float:
        losses.append(table.loss(params))
        return losses[-1]

    (_optuna_default if cell.system == "optuna_default" else _ours)(table, loss, cell)
    return hpo_lookup.regrets(table, losses)


def _optuna_default(table: hpo_lookup.Table, loss: Any, cell: Cell) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=cell.seed))
    for _ in range(100):
        trial = study.ask(_space(table))
        study.tell(trial, loss(trial.params))


def _ours(table: hpo_lookup.Table, loss: Any, cell: Cell) -> None:
    from fleetml.learn.study.loop import run
    from fleetml.learn.study.settings import StudySettings

    settings = StudySettings(trials=100, sampler=cell.system, seed=cell.seed)
    run(lambda trial: loss(dict(trial.params)), _space(table), settings)


def _space(table: hpo_lookup.Table) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    return {
        name: IntDistribution(0, size - 1) if table.ordered[name] else CategoricalDistribution(list(range(size)))
        for name, size in table.sizes.items()
    }


if __name__ == "__main__":
    print(json.dumps(compute(Cell.of(sys.argv[1]))))
