"""Measured scenarios -> a power model, with its error on what it was not fitted on."""

from __future__ import annotations

from statistics import fmean

from components.cost.measurements import load
from fleetml import atomic
from fleetml.component import Artifact
from fleetml.cost.power import fit as power
from fleetml.cost.power.rows import rows
from fleetml.cost.scenarios import Results


def fit(
    results: Artifact, power_kind: str, latest_files: int, seed: int, power_model: Artifact, metrics: Artifact
) -> None:
    """Write the power model of the measurements of the latest `latest_files` files (0: of all) as JSON.

    Metrics: the leave-one-out error of one measurement (`mae_w` [W], `r2`), and `mae_of_a_file_w` [W], that of a file by a model of the
    other files, which knows nothing of its day (where there are two or more). Raises InvalidData for fewer than three measurements,
    InvalidParameter for an unknown kind.
    """
    found = load(results.path)[-latest_files:]
    known = rows(scenario for each in found for scenario in each.scenarios)
    model = power.fit(known, power_kind, seed=seed)
    atomic.write_text(power_model.path, model.to_json() + "\n")
    metrics.log(kind=model.kind, mae_w=round(model.mae, 4), r2=round(model.r2, 4), rows=model.rows)
    errors = [error for each in found for error in _left_out(found, each, power_kind)]
    if errors:
        metrics.log(mae_of_a_file_w=round(fmean(errors), 4))
    power_model.metadata.update(kind=model.kind, mae_w=model.mae, r2=model.r2, rows=model.rows)


def _left_out(found: list[Results], held: Results, kind: str) -> list[float]:
    """Return the errors [W] of a file by a model of the others; none where those are too few, or do not know its words."""
    known = rows(scenario for each in found if each is not held for scenario in each.scenarios)
    if len(known) < power.LEAST_ROWS:
        return []
    model = power.fit(known, kind, draws=2)
    return [
        abs(told.watts - row.watts) for row in rows(held.scenarios) if (told := model.predict(row.features)) is not None
    ]
