"""The look-up tables of ../shared/data/hpo_tables: real trainings, each a table of all points of its space.

Every system is told the same: an ordered list is a whole number (the place in the list), other choices are choices; the value is
the table's mean over its seeds, to be minimised, as it stands there. Needs numpy and pyarrow only: peers read it too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

DATA = Path(__file__).resolve().parents[2] / "shared/data/hpo_tables"
TABLES = (
    "hpobench__credit_g", "hpobench__car", "hpolib__protein_structure",  # on which `auto` was chosen
    "hpobench__kc1", "hpobench__phoneme", "hpolib__parkinsons_telemonitoring", "nasbench201__cifar10",
)  # fmt: skip
CHOSEN_ON = TABLES[:3]


@dataclass(frozen=True)
class Table:
    """`sizes`: how many values each parameter has; `ordered`: whether they rise; `losses` in the shape of the sizes."""

    sizes: Mapping[str, int]
    ordered: Mapping[str, bool]
    losses: Any
    logarithmic: bool

    def loss(self, point: Mapping[str, int]) -> float:
        """Return the value of a point, of which each parameter is the place in its list."""
        return float(self.losses[tuple(int(point[name]) for name in self.sizes)])

    def regret(self, loss: float) -> float:
        """Return (loss - best) / (worst - best) of the table; of the logarithms where losses span orders of magnitude."""
        scale = np.log if self.logarithmic else np.asarray
        best, worst = scale(np.nanmin(self.losses)), scale(np.nanmax(self.losses))
        return float((scale(loss) - best) / (worst - best))


def load(name: str) -> Table:
    """Read a table."""
    family = name.split("__")[0]
    known = json.loads((DATA / "search_spaces.json").read_text())[family]
    frame = pq.read_table(DATA / f"{name}.parquet").to_pydict()
    space = known["space"]
    sizes = {name: len(values) for name, values in space.items()}
    ordered = {name: not isinstance(values[0], str) for name, values in space.items()}
    runs = np.array([values for name, values in frame.items() if name.startswith("seed")], dtype=float)
    losses = np.full(tuple(sizes.values()), np.nan)
    places = tuple(np.array(frame[name]) for name in sizes)
    losses[places] = np.nanmean(runs, axis=0) * (-1 if known["direction"] == "maximize" else 1)
    return Table(sizes, ordered, losses, logarithmic=family == "hpolib")


def regrets(table: Table, losses: list[float], at: tuple[int, ...] = (25, 50, 100)) -> dict[str, float]:
    """Return the regret of the best of the first `at` evaluations."""
    return {str(count): table.regret(min(losses[:count])) for count in at}
