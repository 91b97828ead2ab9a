import numpy as np
import pytest

from benchmarks import bandwidth


def test_the_rule_for_the_predictable_half_sees_no_held_out_step():
    random = np.random.default_rng(0)
    day = np.tile(np.arange(1.0, 13), 10)
    values = np.stack(
        [day, day + random.normal(0, 1, 120), random.uniform(1, 12, 120), np.zeros(120), day + random.normal(0, 3, 120)]
    )
    half = bandwidth.predictable(values, 12)
    assert half.tolist() == [True, True, False, False, False], "a VM that moves nothing is of neither half"
    changed = values.copy()
    changed[:, 96:] = random.uniform(0, 99, (5, 24))
    assert bandwidth.predictable(changed, 12).tolist() == half.tolist()


def test_what_is_held_out_is_asked_only_where_it_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("BENCH_TEST", raising=False)
    assert {cell.fold for cell in bandwidth.cells_wanted()} == {1, 2}
    monkeypatch.setenv("BENCH_TEST", "1")
    assert {cell.fold for cell in bandwidth.cells_wanted()} == {0}
