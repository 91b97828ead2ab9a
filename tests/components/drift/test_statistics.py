"""The statistic: what counts as usual, what as drift, what as missing."""

import numpy as np
import pandas as pd
import pytest

from components.drift import statistics
from components.drift.statistics import Judged


def table(values: np.ndarray, day: np.ndarray | int = 0, vms: int = 10, name: str = "vm") -> pd.DataFrame:
    """Rows of one feature, asked by each VM in turn; VMs' levels lie far apart."""
    vm = np.arange(len(values)) % vms
    origin = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.broadcast_to(day, len(values)), "D")
    return pd.DataFrame({"vm_id": [f"{name}-{v}" for v in vm], "origin": origin, "x": 10.0 ** (vm / 3) * values})


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def judge(live: pd.DataFrame, trained: pd.DataFrame) -> Judged:
    return statistics.judge(live, trained, ["x"])["x"]


def test_both_thresholds_say_the_same() -> None:
    assert statistics.score([Judged(0.5, 0.4), Judged(0.1, 0.2)]) == pytest.approx(0.3085, abs=1e-4)
    assert statistics.score([]) == 0.0
    assert statistics.score([Judged(0.0, 0.0, missing=True)]) == 1.0


def test_what_training_days_do_among_themselves_is_usual(random: np.random.Generator) -> None:
    day = np.repeat(np.arange(14), 200)
    calm = random.lognormal(0, 0.3, 2800)
    moved = calm * np.where(day % 3 == 0, 1.8, 1.0)  # each third day all VMs together
    live = table(random.lognormal(0, 0.3, 500) * 1.8)
    assert judge(live, table(moved, day)).excess < 0.1
    assert judge(live, table(calm, day)).excess > 1.0


def test_a_doubled_small_vm_counts_like_a_large_one(random: np.random.Generator) -> None:
    day = np.repeat(np.arange(14), 200)
    trained = table(random.lognormal(0, 0.3, 2800), day)
    live = table(random.lognormal(0, 0.3, 1000))
    small = live["vm_id"].isin([f"vm-{v}" for v in range(5)])
    live.loc[small, "x"] *= 3
    assert judge(live, trained).excess > 0.1


def test_vms_that_training_did_not_know_are_left_out(random: np.random.Generator) -> None:
    day = np.repeat(np.arange(14), 200)
    trained = table(random.lognormal(0, 0.3, 2800), day)
    known = table(random.lognormal(0, 0.3, 600))
    new = table(np.full(300, 1e6), name="new")
    assert judge(pd.concat([known, new], ignore_index=True), trained).excess < 0.1
    assert judge(new, trained).excess > 0.1  # a fleet that is all new is measured in the old one's terms


def test_a_feature_is_missing_where_most_rows_lack_it(random: np.random.Generator) -> None:
    trained = table(random.lognormal(0, 0.3, 1000))
    live = table(random.lognormal(0, 0.3, 300))
    live.loc[live.index % 3 == 0, "x"] = np.nan
    assert not judge(live, trained).missing
    live["x"] = np.nan
    assert judge(live, trained).missing
    trained["x"] = np.nan
    assert not judge(live, trained).missing  # it never was there


def test_few_values_prove_little(random: np.random.Generator) -> None:
    trained = table(random.lognormal(0, 0.3, 2800), np.repeat(np.arange(14), 200))
    assert judge(table(np.full(2000, 1.4)), trained).usual > 1.0  # ten VMs, a value each
    assert judge(table(random.lognormal(0, 0.3, 2000)), trained).usual < 0.2
