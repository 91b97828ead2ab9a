"""Which pruner a name stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


def made(name: str) -> BasePruner:
    """Return the pruner. Steps count from 0; `wilcoxon` wants a step an instance (a fold), the same ones in every trial."""
    from optuna import pruners

    match name:
        case "median":
            return pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=3)
        case "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        case "hyperband":
            return pruners.HyperbandPruner(min_resource=1, max_resource="auto", reduction_factor=3)
        case "wilcoxon":
            return pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=2)
    return pruners.NopPruner()
