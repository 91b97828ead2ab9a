"""What is read of a rollout: latencies, of which few say little."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from scipy.stats import binom

from fleetml.serving import deployment, truth
from fleetml.serving.deployment import PREDICTIONS
from fleetml.serving.rollout import actions, evidence
from fleetml.serving.rollout.actions import Place
from fleetml.serving.rollout.decision import Evidence


def seen(root: Path) -> Evidence:
    served, now = deployment.read(root)["bandwidth"], datetime.now(UTC)
    assert served.rollout is not None
    return evidence.gather(root, "bandwidth", served, served.rollout, now, now)


def slow_down(root: Path, role: str, count: int) -> None:
    """Have `count` answers of a role take 25 ms."""
    (path,) = (root / PREDICTIONS / "model=bandwidth").glob("*/*.parquet")
    log = pl.read_parquet(path)
    slow = (pl.col("role") == role) & ((pl.col("role") == role).cum_sum() <= count)
    log.with_columns(latency_ms=pl.when(slow).then(25.0).otherwise("latency_ms").cast(pl.Float32)).write_parquet(path)


@pytest.fixture
def root_in_rollout(root: Path, traffic: Any) -> Path:
    actions.begin(Place(root, "", "test"), "bandwidth", "3", "canary", 0.5, "retrained")
    traffic.flow(14, served=10, second=10)
    return root


def test_a_busy_second_does_not_make_a_version_slow(root_in_rollout: Path) -> None:
    slow_down(root_in_rollout, "challenger", 4)
    found = seen(root_in_rollout)
    assert 100 < found.second.answers < 400
    assert found.second.p99_ms == 25.0
    assert found.second.surely_ms == 1.0
    slow_down(root_in_rollout, "challenger", 30)
    assert seen(root_in_rollout).second.surely_ms == 25.0


def test_the_served_version_s_latency_is_that_of_the_same_questions_where_it_is_longer(root_in_rollout: Path) -> None:
    assert seen(root_in_rollout).served.p99_ms == 1.0
    slow_down(root_in_rollout, "shadow", 30)
    assert seen(root_in_rollout).served.p99_ms == 25.0


def test_only_questions_that_both_answered_as_often_and_that_the_same_truth_judges_are_compared(root: Path) -> None:
    actions.begin(Place(root, "", "test"), "bandwidth", "3", "canary", 0.5, "retrained")
    rollout = deployment.read(root)["bandwidth"].rollout
    assert rollout is not None
    now = datetime.now(UTC)
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    answers = {
        "both": {"2": [[110.0]], "3": [[105.0]]},
        "asked twice of one": {"2": [[110.0], [110.0]], "3": [[105.0]]},
        "as many steps in two": {"2": [[110.0], [110.0]], "3": [[105.0, 105.0]]},
        "further ahead": {"2": [[110.0]], "3": [[105.0, 105.0]]},
    }
    rows = [
        (now, noon, vm, version, role, rollout.id, 300, 1.0, "", made)
        for vm, sides in answers.items()
        for version, role in (("2", "shadow"), ("3", "challenger"))
        for made in sides[version]
    ]
    folder = root / PREDICTIONS / "model=bandwidth" / f"date={now.date()}"
    folder.mkdir(parents=True)
    pl.DataFrame(rows, schema=truth.LOG, orient="row").write_parquet(folder / "1.parquet")
    steps = [(vm, noon + k * timedelta(minutes=5), 100.0) for vm in answers for k in (1, 2)]
    truth.write(root, "bandwidth", pl.DataFrame(steps, schema=truth.SCHEMA, orient="row"))
    found = seen(root)
    assert (found.rows, list(found.served_error), list(found.second_error)) == (1, [10.0], [5.0])


@pytest.mark.parametrize("count", [1, 50, 230, 1000, 5000, 100_000])
def test_what_lies_beyond_the_p99_by_chance(count: int) -> None:
    k = evidence.beyond_p99(count)
    assert binom.sf(k, count, 0.01) <= 0.0012  # beyond 5,000 it is nearly that
    assert k == 0 or binom.sf(k - 1, count, 0.01) > 0.0008
