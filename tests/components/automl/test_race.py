"""A trial that is clearly behind its family's best on the first fold ends there; what errs otherwise goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.automl import race
from components.automl.losses import auc_error, log_loss

TRUTH = np.random.default_rng(0).integers(0, 2, 400)


def said(sharpness: float, seed: int) -> np.ndarray:
    scores = sharpness * (2 * TRUTH - 1) + np.random.default_rng(seed).normal(size=400)
    second = 1 / (1 + np.exp(-scores))
    return np.stack([1 - second, second], axis=1)


@pytest.mark.parametrize("loss", [log_loss, auc_error])
def test_the_clearly_worse_of_a_family_is_ended_and_no_other(tmp_path: Path, loss: race.Loss) -> None:
    def told(family: str, sharpness: float, seed: int) -> str:
        mine = race.first(family, TRUTH, said(sharpness, seed), loss)
        why = race.behind(mine, tmp_path, 400)
        if not why:
            race.enter(mine, tmp_path, seed)
        return why

    assert told("lightgbm", 1.5, 0) == ""
    assert told("lightgbm", 1.5, 1) == ""  # as good, but for chance
    assert "clearly behind" in told("lightgbm", 0.5, 2)
    assert "lightgbm" in told("lightgbm", 0.5, 3)
    assert told("linear", 0.5, 4) == ""  # the first of its family
    assert told("lightgbm", 3.0, 5) == ""
    assert "clearly behind" in told("lightgbm", 1.5, 6)  # of a better best


def test_few_rows_make_nothing_clear(tmp_path: Path) -> None:
    race.enter(race.first("net", TRUTH, said(3.0, 0), log_loss), tmp_path, 0)
    assert race.behind(race.first("net", TRUTH, said(0.1, 1), log_loss), tmp_path, 99) == ""
