"""The synthetic fleet looks like a fleet and never rewrites its past."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from fleetml.data import schema
from fleetml.data.synthetic import CHURN, Fleet, generate, instant, parse
from fleetml.errors import InvalidParameter

END = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday


@pytest.fixture(scope="module")
def month() -> pl.DataFrame:
    return generate(Fleet(vms=20), END, days=28)


def test_it_is_a_canonical_table(month: pl.DataFrame):
    assert month.schema == schema.POLARS
    assert month.select(schema.KEY).is_duplicated().sum() == 0
    assert month.equals(month.sort(schema.KEY))
    assert month["vm_id"].n_unique() == 20
    assert month["timestamp"].max() < END
    assert month["timestamp"].min() >= END - timedelta(days=28)
    assert all((month[name].drop_nulls() >= 0).all() for name in schema.METRICS)


def test_a_window_that_ends_later_agrees_on_the_overlap(month: pl.DataFrame):
    later = generate(Fleet(vms=20), END + timedelta(days=2, hours=5), days=28)
    since = END + timedelta(days=2, hours=5) - timedelta(days=28)
    assert later.filter(pl.col("timestamp") < END).equals(month.filter(pl.col("timestamp") >= since))


def test_more_vms_do_not_change_the_first_ones(month: pl.DataFrame):
    few = generate(Fleet(vms=5), END, days=28)
    assert few.equals(month.filter(pl.col("vm_id").is_in(few["vm_id"].unique().implode())))


def test_seeds_differ():
    one, other = (generate(Fleet(vms=2, seed=seed), END, days=1) for seed in (1, 2))
    assert not one.equals(other)


def test_people_make_days_and_weekends(month: pl.DataFrame):
    web = month.filter(pl.col("vm_id").str.starts_with("web"), pl.col("region") == "eu-central")
    hourly = web.group_by(pl.col("timestamp").dt.hour().alias("hour")).agg(pl.col("cpu_usage").mean()).sort("hour")
    by_hour = dict(hourly.iter_rows())
    assert by_hour[13] > 2 * by_hour[3]
    daily = web.group_by((pl.col("timestamp").dt.weekday() > 5).alias("weekend")).agg(pl.col("cpu_usage").mean())
    weekend = dict(daily.iter_rows())
    assert weekend[False] > 1.1 * weekend[True]


def test_metrics_move_together(month: pl.DataFrame):
    web = month.filter(pl.col("vm_id") == "web-0000")
    assert web.select(pl.corr("cpu_usage", "network_received")).item() > 0.6
    assert web.select(pl.corr("cpu_usage", "latency")).item() > 0.5
    assert web.select(pl.corr("memory_usage", "disk_write", method="spearman")).item() > 0.3


def test_there_are_gaps_off_periods_and_churn(month: pl.DataFrame):
    counts = month.group_by("vm_id").len()
    assert counts["len"].max() < 28 * 288
    off = month.filter(pl.col("cpu_capacity") == 0)
    assert off.height > 0
    assert off["cpu_usage"].max() == 0
    steady = counts.filter(~pl.col("vm_id").str.ends_with(f"{CHURN - 1:04d}"))["len"].min()
    assert counts.filter(pl.col("vm_id").str.ends_with(f"{CHURN - 1:04d}"))["len"].item() < 0.95 * steady


def test_only_services_have_latency(month: pl.DataFrame):
    idle = month.filter(pl.col("vm_id").str.starts_with("idle"))
    assert idle["latency"].null_count() == idle.height
    assert month.filter(pl.col("vm_id").str.starts_with("web"))["latency"].null_count() == 0


def test_drift_on_demand_scales_one_group_from_a_day_on():
    start = END - timedelta(days=1)
    plain = generate(Fleet(vms=3), END, days=2)
    moved = generate(parse("synthetic://?vms=3&drift=network:1.5&drift_start=2026-03-01"), END, days=2)
    ratio = moved["network_sent"] / plain["network_sent"]
    assert ratio.filter(plain["timestamp"] < start).drop_nans().unique().to_list() == [1.0]
    assert ratio.filter(plain["timestamp"] >= start).drop_nans().round(9).unique().to_list() == [1.5]
    assert moved["cpu_usage"].equals(plain["cpu_usage"])


def test_the_url_sets_every_option():
    fleet = parse(
        "synthetic://?vms=3&days=0.5&seed=9&step_seconds=60&drift=cpu:2,errors:3&drift_start=2026-01-05T01:00Z"
    )
    start = datetime(2026, 1, 5, 1, tzinfo=UTC)
    assert fleet == Fleet(3, 0.5, 9, 60, {"cpu": 2.0, "errors": 3.0}, start)
    assert generate(fleet, END).height > 3 * 700
    assert parse("synthetic://") == Fleet()
    assert instant("2026-01-05 03:00+02:00") == start


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("synthetic://?vm=3", "unknown option 'vm'"),
        ("synthetic://?vms=many", "option vms cannot be 'many'"),
        ("synthetic://?vms=0", "vms must be 1"),
        ("synthetic://?drift=gpu:2", "drift groups are cpu"),
        ("synthetic://?drift=cpu", "option drift"),
        ("synthetic://?drift=cpu:-1", "factors must be 0 or more"),
    ],
)
def test_a_wrong_option_is_named(url: str, words: str):
    with pytest.raises(InvalidParameter, match=words.replace("?", r"\?")):
        parse(url)
