"""SMAC3 on a look-up table, as its facade for hyperparameters sets it up; run in .venv/peers-hpo by benchmarks/hpo_tables.py."""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any

from benchmarks import hpo_lookup


def main(cell: dict[str, Any]) -> None:
    """Print the figures of one cell as a line of JSON."""
    from ConfigSpace import Categorical, ConfigurationSpace, Integer
    from smac import HyperparameterOptimizationFacade, Scenario

    table, losses = hpo_lookup.load(cell["data"]), []
    space = ConfigurationSpace(
        {
            name: Integer(name, (0, size - 1)) if table.ordered[name] else Categorical(name, list(range(size)))
            for name, size in table.sizes.items()
        },
        seed=cell["seed"],
    )

    def loss(config: Any, seed: int = 0) -> float:
        losses.append(table.loss(dict(config)))
        return losses[-1]

    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(space, output_directory=folder, deterministic=True, n_trials=100, seed=cell["seed"])
        HyperparameterOptimizationFacade(scenario, loss, overwrite=True, logging_level=False).optimize()
    print(json.dumps(hpo_lookup.regrets(table, losses)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
