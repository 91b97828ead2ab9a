"""Good data pass unchanged with a report; bad data stop here, by column, rule, count and examples."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from components.validate import rules
from components.validate.validate import validate, validate_series
from fleetml.component import Artifact
from fleetml.data import schema
from fleetml.data.synthetic import Fleet, generate
from fleetml.errors import InvalidData, InvalidParameter

END = datetime(2026, 3, 2, tzinfo=UTC)
Table = pl.DataFrame
REAL = Path(__file__).parents[3].parent / "shared/data/bitbrains_rnd"


@pytest.fixture(scope="module")
def fleet() -> Table:
    return generate(Fleet(vms=4), END, days=3)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict]:
    """Validate a table as the step does; return the figures it logged."""

    def call(table: Table, target: str = "bandwidth", context: int = 288, horizon: int = 48) -> dict:
        table.write_parquet(tmp_path / "data")
        made = {name: Artifact(name, str(tmp_path / "out" / name)) for name in ("valid", "report", "metrics")}
        data = Artifact("data", str(tmp_path / "data"), metadata={"source": "s"})
        validate(data, target, context, horizon, **made)
        assert made["valid"].metadata == {"source": "s"}
        return made["metrics"].metadata

    return call


def test_good_data_pass_unchanged_with_a_report(run, fleet: Table, tmp_path: Path):
    figures = run(fleet)
    assert (tmp_path / "out/valid").read_bytes() == (tmp_path / "data").read_bytes()
    assert list(figures)[:3] == ["rows", "vms", "missing_percent"]
    assert (figures["rows"], figures["vms"], figures["step_seconds"]) == (fleet.height, 4, 300)
    report = (tmp_path / "out/report").read_text()
    assert len(report) < 50_000
    assert "src=" not in report
    assert "http" not in report
    for word in ("network_received", "kB/s", "web-0000", "2026-02-27", "bandwidth"):
        assert word in report


def test_missing_and_irregular_samples_are_counted(run, fleet: Table):
    holes = fleet.filter(~((pl.col("vm_id") == "web-0000") & pl.col("timestamp").dt.hour().is_between(3, 8)))
    whole, holed = run(fleet), run(holes)
    assert holed["missing_percent"] > whole["missing_percent"] + 4
    emptied = fleet.with_columns(
        pl.when(pl.int_range(pl.len()) % 4 > 0).then(pl.col("network_received")).alias("network_received")
    )
    assert run(emptied)["missing_percent"] == pytest.approx(25, abs=3)  # a row without the target's value is no sample
    assert run(emptied, target="cpu")["missing_percent"] == whole["missing_percent"]
    later = fleet.with_columns(pl.col("timestamp") + pl.duration(seconds=170) * (pl.int_range(pl.len()) % 2))
    # steps of 470 s and 130 s in turn: half of them are the median
    assert run(later)["irregular_percent"] == pytest.approx(50, abs=1)


def test_zero_capacity_and_memory_over_capacity_are_no_errors(run, fleet: Table, tmp_path: Path):
    run(fleet.with_columns(cpu_capacity=pl.lit(0.0), memory_usage=pl.col("memory_capacity") + 1))
    assert (
        f"<td>rows with more memory used than provisioned</td><td>{fleet.height:,}</td>"
        in (tmp_path / "out/report").read_text()
    )


def change(fleet: Table, rows: list[int], **values: object) -> Table:
    """Set columns of some rows."""
    hit = pl.int_range(pl.len()).is_in(rows)
    return fleet.with_columns(
        pl.when(hit).then(pl.lit(value, dtype=schema.POLARS[name])).otherwise(pl.col(name)).alias(name)
        for name, value in values.items()
    )


def one_value(value: float, rows: list[int], column: str = "network_sent") -> Callable[[Table], Table]:
    return lambda fleet: change(fleet, rows, **{column: value})


SWAPPED = [1, 0, *range(2, 800)]
BROKEN: dict[str, tuple[Callable[[Table], Table], list[str]]] = {
    "negative": (
        one_value(-1.0, [3, 4]),
        ["'network_sent' must not be negative: 2 of", "batch-0002 at 2026", ": -1.0"],
    ),
    "infinite": (one_value(float("inf"), [3]), ["'network_sent' must be finite: 1 of", "inf"]),
    "not a number": (one_value(float("nan"), [3]), ["'network_sent' must be finite: 1 of", "nan"]),
    "beyond belief": (one_value(1001, [0], "cpu_usage"), ["'cpu_usage' must be at most 1000 %: 1 of", "1001.0"]),
    "future": (
        lambda f: f.with_columns(pl.col("timestamp") + timedelta(days=36500)),
        ["'timestamp' must not lie in the future"],
    ),
    "out of order": (lambda f: f.head(800)[SWAPPED], ["'timestamp' must ascend within a VM, none twice: 1 of 800"]),
    "twice": (lambda f: pl.concat([f.head(5), f.slice(4)]), ["none twice: 1 of"]),
    "no VM": (lambda f: change(f, [0], vm_id=None), ["'vm_id' must not be empty: 1 of"]),
    "text": (lambda f: f.with_columns(pl.col("latency").cast(pl.String)), ["'latency' must be Float64, is String"]),
    "no zone": (
        lambda f: f.with_columns(pl.col("timestamp").dt.replace_time_zone(None)),
        ["'timestamp' must be Datetime"],
    ),
    "missing column": (
        lambda f: f.drop("region", "latency"),
        ["column 'latency' is missing", "column 'region' is missing"],
    ),
    "no rows": (lambda f: f.clear(), ["must hold rows"]),
    "no target": (
        lambda f: f.with_columns(network_sent=pl.lit(None, dtype=pl.Float64)),
        ["target bandwidth needs column 'network_sent'", "no value", "set target to one that is measured: cpu,"],
    ),
    "one VM": (lambda f: f.filter(vm_id="web-0000"), ["at least 2 VMs", "have 1", "web-0000"]),
    "one VM measured": (
        lambda f: f.with_columns(
            network_sent=pl.when(pl.col("vm_id") == "web-0000").then("network_sent"),
        ),
        ["at least 2 VMs", "have 1"],
    ),
    "too short": (
        lambda f: f.filter(pl.col("timestamp") >= END - timedelta(hours=30)),
        ["288 + 3 * 48 steps of 300 s = 1.50 days", "span 1.2", "widen window_days"],
    ),
    "one long VM": (
        lambda f: f.filter((pl.col("vm_id") == "web-0000") | (pl.col("timestamp") >= END - timedelta(hours=8))),
        ["at least 2 VMs must live for context + horizon = 1.17 days; 1 of 4"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_and_nothing_is_written(run, fleet: Table, tmp_path: Path, name: str):
    spoil, words = BROKEN[name]
    with pytest.raises(InvalidData) as caught:
        run(spoil(fleet))
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_every_broken_rule_is_told_at_once_with_five_examples_each(fleet: Table):
    with pytest.raises(InvalidData) as caught:
        rules.enforce(change(fleet, list(range(40)), cpu_usage=-1.0, disk_read=-2.0))
    message = str(caught.value)
    assert message.count("40 of") == 2
    assert message.count(": -1.0") == message.count(": -2.0") == 5


def test_parameters_are_checked_before_the_data_are_read(run, fleet: Table):
    with pytest.raises(InvalidParameter, match="target must be one of bandwidth, cpu"):
        run(fleet, target="gpu")
    with pytest.raises(InvalidParameter, match="horizon must be 1 or more steps, got 0"):
        run(fleet, horizon=0)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path):
    (tmp_path / "data").write_text("hello")
    made = [Artifact(name, str(tmp_path / "out" / name)) for name in ("valid", "report", "metrics")]
    with pytest.raises(InvalidData, match="must be a Parquet file"):
        validate(Artifact("data", str(tmp_path / "data")), "cpu", 1, 1, *made)


def test_a_full_disk_leaves_nothing_half_written(run, fleet: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match="No space"):
        run(fleet)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(not REAL.exists(), reason="the real data folder ../shared is not here")
def test_the_real_fleet_is_valid(run):
    from components.ingest.convert import canonical
    from components.ingest.mapping import load

    raw = pl.scan_parquet(REAL / "vm001-150_2013-08_all_metrics.parquet").filter(pl.col("vm") <= 12)
    figures = run(schema.conform(canonical(raw, load("bitbrains_parquet"))).sort(schema.KEY).collect())
    assert figures["vms"] == 12
    assert figures["step_seconds"] == 300


def of_series(table: Table, folder: Path, metric: str = "") -> dict:
    """Validate what is looked at for anomalies in time; return the figures."""
    table.write_parquet(folder / "data")
    made = [Artifact(name, str(folder / "series" / name)) for name in ("valid", "report", "metrics")]
    validate_series(Artifact("data", str(folder / "data"), metadata={"source": "s"}), metric, *made)
    assert made[0].path.read_bytes() == (folder / "data").read_bytes()
    assert made[0].metadata == {"source": "s"}
    return made[2].metadata


def test_one_vm_and_one_metric_will_do_for_anomalies_in_time(fleet: Table, tmp_path: Path):
    whole = fleet.filter(vm_id="web-0000")
    assert of_series(whole, tmp_path)["vms"] == 1
    nothing = {name: pl.lit(None, pl.Float64) for name in schema.METRICS}
    received = whole.with_columns(**{**nothing, "network_received": pl.col("network_received")})
    for metric in ("", "network_io"):
        assert of_series(received, tmp_path, metric)["missing_percent"] < 5
    assert "Target: <b>network_io</b>" in (tmp_path / "series/report").read_text()


def test_a_table_without_the_metric_or_that_breaks_a_rule_is_refused_for_anomalies_in_time(
    fleet: Table, tmp_path: Path
):
    nothing = fleet.with_columns(pl.lit(None, pl.Float64).alias("cpu_usage"))
    with pytest.raises(InvalidData, match="one of cpu_usage must be measured"):
        of_series(nothing, tmp_path, "cpu")
    with pytest.raises(InvalidData, match="must not be negative"):
        of_series(change(fleet, [3], network_sent=-1.0), tmp_path, "cpu")
    with pytest.raises(InvalidParameter, match="did you mean 'network_io'"):
        of_series(fleet, tmp_path, "networkio")
    assert not (tmp_path / "series").exists()
