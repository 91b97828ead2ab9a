"""Which trials are ended after their first fold: those that are clearly behind the best of their own family there.

The families err differently, so the first of each goes to its end, and no other one is compared with another family's. What is
clear is told by the same rows: the difference of two losses, and how it varies when a part of the rows is left out.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.automl.losses import Loss, Said, Truth
from fleetml.atomic import aside

PARTS = 10
SURE = 2.5  # standard errors: by chance one of 60 trials that is as good is ended
LEAST_ROWS = 100  # held ones, below which nothing is clear


@dataclass(frozen=True)
class First:
    """The loss on a fold's held rows, and on them without each of their parts."""

    family: str
    loss: float
    without: Sequence[float]


def first(family: str, truth: Truth, said: Said, loss: Loss) -> First:
    """Return the losses of what a trial said [H, C] of its first fold's rows."""
    part = np.arange(len(truth)) % PARTS
    return First(family, loss(truth, said), [loss(truth[part != each], said[part != each]) for each in range(PARTS)])


def behind(mine: First, folder: Path, rows: int) -> str:
    """Return why a trial should end, "" where it should go on; `folder`: where those before it left theirs.

    By the jackknife (Quenouille; Tukey, 1958) over the parts: the standard error of the difference to the best of the family.
    """
    others = [First(**json.loads(path.read_text())) for path in sorted(folder.glob("first-*.json"))]
    known = [each for each in others if each.family == mine.family]
    if known and rows >= LEAST_ROWS:
        best = min(known, key=lambda each: each.loss)
        apart = mine.loss - best.loss
        spread = np.asarray(mine.without) - np.asarray(best.without)
        error = float(np.sqrt((PARTS - 1) / PARTS * ((spread - spread.mean()) ** 2).sum()))
        if apart > SURE * error:
            return (
                f"a loss of {mine.loss:.5g} on the first fold is clearly behind {best.loss:.5g}, "
                f"the best of {mine.family} (by {apart:.2g}, {error:.1g} is chance)"
            )
    return ""


def enter(mine: First, folder: Path, number: int) -> None:
    """Leave the losses of a trial that came to its end for those after it; none that is no number, to which nothing compares."""
    if not np.isfinite(mine.loss):
        return
    with aside(folder / f"first-{number}.json") as temporary:
        temporary.write_text(json.dumps({"family": mine.family, "loss": mine.loss, "without": list(mine.without)}))
