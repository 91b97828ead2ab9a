"""Every file format becomes the same table; every broken one is named with its remedy."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from fleetml.data import schema
from fleetml.data.synthetic import Fleet, generate
from fleetml.errors import ConfigurationError, FleetMLError, InvalidData, InvalidParameter

REAL = Path(__file__).parents[3].parent / "shared/data/bitbrains_rnd"
real_data = pytest.mark.skipif(not REAL.exists(), reason="the real data folder ../shared is not here")

HEADER = [
    "Timestamp [ms]",
    "CPU cores",
    "CPU capacity provisioned [MHZ]",
    "CPU usage [MHZ]",
    "CPU usage [%]",
    "Memory capacity provisioned [KB]",
    "Memory usage [KB]",
    "Disk read throughput [KB/s]",
    "Disk write throughput [KB/s]",
    "Network received throughput [KB/s]",
    "Network transmitted throughput [KB/s]",
]
FIRST = 1376314846


def bitbrains(path: Path, rows: int = 20, repeat: int = 0, off: int = 0, text: str = "") -> Path:
    """Write one raw Bitbrains file: `repeat` duplicates, `off` rows of zero capacity, one cell of `text`."""
    lines = [";\t".join(HEADER)]
    for i in range(rows):
        capacity = 0 if i < off else 11704
        values = [FIRST + 300 * i, 4, capacity, 0.0, 93.5, 67108864, 6129274.4, 0.5, 20, 1.25, 1 + i]
        lines.append(";\t".join(map(str, values)))
    lines += lines[1 : 1 + repeat]
    if text:
        lines[3] = lines[3].replace("93.5", text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_raw_bitbrains(run, tmp_path: Path):
    bitbrains(tmp_path / "rnd/2013-8/1.csv", repeat=1, off=2)
    bitbrains(tmp_path / "rnd/2013-8/2.csv")
    frame, figures = run(tmp_path / "rnd")
    assert frame.schema == schema.POLARS
    assert frame["vm_id"].unique().sort().to_list() == ["1", "2"]
    assert frame["timestamp"][0] == datetime.fromtimestamp(FIRST, UTC)
    first = frame.row(3, named=True)
    assert (first["cpu_usage"], first["network_received"], first["network_sent"]) == (93.5, 1.25, 4.0)
    assert frame.filter(pl.col("cpu_capacity") == 0).height == 2
    assert list(figures)[:3] == ["rows", "vms", "days"]
    assert (figures["rows"], figures["vms"], figures["duplicates"]) == (40, 2, 1)


def test_of_duplicates_the_first_is_kept(run, tmp_path: Path):
    times = [0, 300, 300, *range(600, 6000, 300)]
    table = {"vm_id": ["a"] * 21, "timestamp": times, "cpu_usage": [1.0, 2.0, 3.0, *[4.0] * 18]}
    pl.DataFrame(table).write_csv(tmp_path / "t.csv")
    frame, figures = run(tmp_path / "t.csv")
    assert frame["cpu_usage"].to_list()[:3] == [1.0, 2.0, 4.0]
    assert figures["duplicates"] == 1


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz"])
def test_a_canonical_table_passes_unchanged(run, tmp_path: Path, ending: str):
    fleet = generate(Fleet(vms=3), datetime(2026, 3, 1, tzinfo=UTC), days=2)
    path = tmp_path / f"fleet.{ending}"
    if ending == "parquet":
        fleet.write_parquet(path)
    elif ending == "csv":
        fleet.write_csv(path)
    else:
        path.write_bytes(gzip.compress(fleet.write_csv().encode()))
    frame, _ = run(path)
    assert frame.equals(fleet)


def test_a_mapping_scales_renames_and_reads_local_times(run, tmp_path: Path):
    (tmp_path / "t.csv").write_text(
        "host;time;cpu;mem_used_mb;mem_mb;rx_bytes_s;tx_bytes_s\n"
        "a;01.07.2026 02:00;0,5;1;2;1024;2048\n"
        "a;01.07.2026 02:05;n/a;1;2;1024;2048\n"
        "b;01.07.2026 02:00;0,25;1;2;1024;2048\n"
    )
    frame, _ = run(tmp_path / "t.csv", "example")
    row = frame.row(0, named=True)
    assert row["timestamp"] == datetime(2026, 7, 1, tzinfo=UTC)
    assert (row["cpu_usage"], row["memory_usage"], row["network_sent"], row["region"]) == (50, 1024, 2, "eu-central")
    assert frame["cpu_usage"].to_list() == [50.0, None, 25.0]


@pytest.mark.parametrize(
    "time",
    [
        "1782864000",
        "1782864000000",
        "1782864000000000",
        "1782864000000000000",
        "2026-07-01",
        "2026-07-01 00:00",
        "2026-07-01 00:00:00",
        "2026-07-01T02:00:00.000+02:00",
        "2026-07-01T00:00:00Z",
    ],
)
def test_times_are_understood_by_magnitude_or_iso(run, tmp_path: Path, time: str):
    (tmp_path / "t.csv").write_text(f"vm_id,timestamp,cpu_usage\na,{time},1\n")
    frame, _ = run(tmp_path / "t.csv")
    assert frame["timestamp"].to_list() == [datetime(2026, 7, 1, tzinfo=UTC)]


def test_a_zone_of_its_own_and_dates_in_parquet(run, tmp_path: Path):
    local = pl.datetime_range(datetime(2026, 7, 1), datetime(2026, 7, 2), "1h", eager=True, time_zone="Asia/Kolkata")
    pl.DataFrame({"vm_id": [7] * 25, "timestamp": local, "cpu_usage": [1] * 25}).write_parquet(tmp_path / "t.parquet")
    frame, _ = run(tmp_path / "t.parquet")
    assert frame["timestamp"][0] == datetime(2026, 6, 30, 18, 30, tzinfo=UTC)
    assert frame["vm_id"].unique().to_list() == ["7"]


def test_the_window_ends_at_the_end_of_the_data_or_where_told(run, tmp_path: Path):
    generate(Fleet(vms=2), datetime(2026, 3, 10, tzinfo=UTC), days=9).write_parquet(tmp_path / "t.parquet")
    last, _ = run(tmp_path / "t.parquet", days=2)
    assert last["timestamp"].min() > datetime(2026, 3, 7, 23, tzinfo=UTC)
    told, _ = run(tmp_path / "t.parquet", days=2, end="2026-03-05")
    assert told["timestamp"].max() < datetime(2026, 3, 5, tzinfo=UTC)
    assert told["timestamp"].min() >= datetime(2026, 3, 3, tzinfo=UTC)


def test_the_generator_fills_in_for_no_source(run):
    frame, figures = run("", days=1, end="2026-03-05T00:00:00Z")
    assert figures["vms"] >= 35
    assert frame["timestamp"].max() < datetime(2026, 3, 5, tzinfo=UTC)
    longer, _ = run("synthetic://?vms=2&days=9", days=2, end="2026-03-05")
    assert longer["timestamp"].min() >= datetime(2026, 3, 3, tzinfo=UTC)
    again, _ = run("synthetic://?vms=2&days=0.5", days=2, end="2026-03-05")
    assert again["timestamp"].min() >= datetime(2026, 3, 4, 12, tzinfo=UTC)


def broken(tmp_path: Path, name: str) -> tuple[Path, dict]:
    """Make the broken source of that name; return it with the further arguments of the run."""
    good = "vm_id,timestamp,cpu_usage\n" + "".join(f"a,{60 * i},1\n" for i in range(10))
    path = tmp_path / "in" / "t.csv"
    path.parent.mkdir()
    texts = {
        "empty file": "",
        "header only": "vm_id,timestamp,cpu_usage\n",
        "no metric": "vm_id,timestamp\na,1\n",
        "missing column": "vm_id,cpu_usage\na,1\n",
        "text in a number column": good + "b,0,many\nb,60,few\n",
        "unreadable time": good + "b,yesterday,1\n",
        "no time at all": "vm_id,timestamp,cpu_usage\na,soon,1\n",
        "no VM": good + ",0,3\n",
        "ragged line": good + "a,1,2,3,4\n",
        "open quote": good + '"a,1,2\n',
        "same header twice": "vm_id,timestamp,cpu_usage,cpu_usage\na,1,2,3\n",
        "no separator": "vm_id timestamp cpu_usage\na 1 2\n",
        "duplicates": good + good.partition("\n")[2],
        "window without data": good,
        "wrong separator": good,
        "column of mapping missing": "host;time\na;1\n",
        "two headers": good,
        "mixed kinds": good,
    }
    path.write_text(texts.get(name, good))
    if name == "two headers":
        (tmp_path / "in" / "u.csv").write_text("vm_id,timestamp,cpu\na,1,2\n")
        return path.parent, {}
    if name == "mixed kinds":
        pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "in" / "u.parquet")
        return path.parent, {}
    if name == "missing file":
        return tmp_path / "gone.csv", {}
    if name == "empty folder":
        (tmp_path / "hollow").mkdir()
        return tmp_path / "hollow", {}
    if name == "no Parquet":
        (tmp_path / "x.parquet").write_text("hello")
        return tmp_path / "x.parquet", {}
    if name == "no gzip":
        (tmp_path / "x.csv.gz").write_text("hello")
        return tmp_path / "x.csv.gz", {}
    if name == "not UTF-8":
        path.write_bytes(good.encode() + b"\xff\xfe,0,1\n")
        return path, {}
    extra = {
        "window without data": {"end": "2026-01-01"},
        "wrong separator": {"mapping": "example"},
        "column of mapping missing": {"mapping": "example"},
    }
    return path, extra.get(name, {})


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing file", ["no such file", "gone.csv", "correct the path"]),
        ("empty folder", ["holds no CSV or Parquet"]),
        ("empty file", ["empty", "t.csv"]),
        ("header only", ["no rows"]),
        ("no metric", ["any metric", "mapping=FILE.yaml"]),
        ("missing column", ["'timestamp'", "missing", "nearest known format: canonical"]),
        ("text in a number column", ["'cpu_usage'", "number", "2 are not", "t.csv: many", "t.csv: few"]),
        ("unreadable time", ["'timestamp'", "time", "1 are not", "yesterday"]),
        ("no time at all", ["'timestamp'", "soon"]),
        ("no VM", ["vm_id must not be empty", "1 rows"]),
        ("ragged line", ["as many fields as the header"]),
        ("open quote", ["quotes are closed"]),
        ("same header twice", ["'cpu_usage' stands twice"]),
        ("no separator", ["no separator", "vm_id timestamp"]),
        ("duplicates", ["10 of 20 rows repeat", "10%", "a 1970-01-01T00:00:00+00:00"]),
        ("window without data", ["no rows in the window", "span 1970-01-01T00:00:00+00:00 to", "set window_end"]),
        ("wrong separator", ["separator ';' of mapping example", "',' does 2 times"]),
        ("column of mapping missing", ["'cpu'", "of mapping example is missing"]),
        ("two headers", ["the header of u.csv"]),
        ("mixed kinds", ["both CSV and Parquet"]),
        ("no Parquet", ["no readable Parquet"]),
        ("no gzip", ["no readable text"]),
        ("not UTF-8", ["UTF-8"]),
    ],
)
def test_what_is_broken_is_named(run, tmp_path: Path, name: str, words: list[str]):
    source, extra = broken(tmp_path, name)
    with pytest.raises(InvalidData) as caught:
        run(source, **extra)
    for word in words:
        assert word in str(caught.value)
    assert "__file" not in str(caught.value)  # a column of ours, not of the source


@pytest.mark.usefixtures("nothing_written")
def test_text_in_raw_bitbrains_names_the_source_column(run, tmp_path: Path):
    bitbrains(tmp_path / "rnd/1.csv")
    bitbrains(tmp_path / "rnd/2.csv", text="high")
    with pytest.raises(InvalidData, match=r"'CPU usage \[%\]' \(cpu_usage\) must be a number; 1 are not.*2.csv: high"):
        run(tmp_path / "rnd")


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("extra", "error", "words"),
    [
        ({"days": 0}, InvalidParameter, "window_days must be above 0"),
        ({"end": "tomorrow"}, InvalidParameter, "window_end must be a time in ISO 8601, got 'tomorrow'"),
        ({"mapping": "nope"}, ConfigurationError, "no such file; give a YAML file or one of bitbrains"),
        ({"mapping": "node_exporter"}, ConfigurationError, "is no Prometheus"),
    ],
)
def test_wrong_parameters_are_refused(run, tmp_path: Path, extra: dict, error: type[FleetMLError], words: str):
    bitbrains(tmp_path / "1.csv")
    with pytest.raises(error, match=words):
        run(tmp_path / "1.csv", **extra)


@real_data
def test_the_whole_august_file(run):
    frame, figures = run(REAL / "vm001-150_2013-08_all_metrics.parquet")
    assert (figures["rows"], figures["vms"], figures["duplicates"]) == (1_305_841, 150, 0)
    assert frame.filter(pl.col("cpu_capacity") == 0).height == 40_107
    assert frame["timestamp"].min() == datetime(2013, 7, 31, 22, 2, 56, tzinfo=UTC)


@real_data
def test_a_day_of_the_gift_eval_grid(run):
    frame, figures = run(REAL / "gift_2013-07_cpu_5min.parquet", days=1)
    assert figures["vms"] == 500
    assert frame["timestamp"].max() - frame["timestamp"].min() == timedelta(minutes=24 * 60 - 5)
    assert frame["memory_usage"].null_count() == frame.height
