"""A trial that is clearly behind its family's best on the first fold ends there; what errs otherwise goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from components.automl import race, trials
from components.automl.losses import auc_error, log_loss
from components.automl.stopping import Watched
from fleetml.learn.algorithms import CLASSIFICATION

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


def test_a_loss_that_is_no_number_is_nobodys_best(tmp_path: Path) -> None:
    race.enter(race.First("net", float("nan"), [float("nan")] * 10), tmp_path, 0)
    race.enter(race.first("net", TRUTH, said(3.0, 1), log_loss), tmp_path, 1)
    assert "clearly behind" in race.behind(race.first("net", TRUTH, said(0.1, 2), log_loss), tmp_path, 400)


def test_a_trial_that_never_comes_to_its_end_ends_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folds = SimpleNamespace(folds=[SimpleNamespace(held=np.arange(400))])
    problem: Any = SimpleNamespace(
        validation=folds,
        target=TRUTH,
        loss=log_loss,
        size_limit_mb=20.0,
        about=SimpleNamespace(objective=CLASSIFICATION),
    )

    def dies(*given: Any) -> Any:
        given[-1](said(3.0, 0))
        raise MemoryError

    monkeypatch.setattr(trials, "evaluate", dies)
    trial: Any = SimpleNamespace(
        params={"family": "linear", "linear.l2": 1.0}, number=0, kept_at=tmp_path / "0", report=None, deadline=0.0
    )
    with pytest.raises(MemoryError):
        trials.objective(problem)(trial)
    assert race.behind(race.first("linear", TRUTH, said(0.1, 1), log_loss), tmp_path, 400) == ""


def test_a_fold_of_a_repetition_without_others_to_tell_it_when_to_stop_is_left_out() -> None:
    folds = [
        SimpleNamespace(held=np.arange(0, 2)),
        SimpleNamespace(held=np.arange(2, 4)),
        SimpleNamespace(held=np.arange(0, 2)),
    ]
    problem: Any = SimpleNamespace(
        validation=SimpleNamespace(folds=folds, once=folds[:2]), target=np.zeros(4), classes=1
    )
    watched = [
        Watched(np.full((2, 1), 9.0), [1.0], lambda count, value=value: np.full((2, 1), value))
        for value in (1.0, 2.0, 5.0)
    ]
    assert trials._mean(problem, watched).ravel().tolist() == [1.0, 1.0, 2.0, 2.0]
