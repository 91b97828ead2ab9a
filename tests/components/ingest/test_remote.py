"""The same files from afar: S3 (a real server in this process), HTTP, file:// and memory://."""

import http.server
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from fleetml.data.synthetic import Fleet, generate
from fleetml.errors import InvalidData


@pytest.fixture(scope="module")
def fleet() -> pl.DataFrame:
    return generate(Fleet(vms=3), datetime(2026, 3, 1, tzinfo=UTC), days=1)


@pytest.fixture
def bucket(fleet: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    boto3, server = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="traces")
        for vm in fleet["vm_id"].unique():
            text = fleet.filter(pl.col("vm_id") == vm).write_csv()
            client.put_object(Bucket="traces", Key=f"2026/{vm}.csv", Body=text.encode())
        yield "s3://traces"
    finally:
        running.stop()


def test_a_folder_a_file_and_a_pattern_on_s3(run, fleet: pl.DataFrame, bucket: str):
    assert run(f"{bucket}/2026")[0].equals(fleet)
    assert run(f"{bucket}/2026/web-0000.csv")[0].equals(fleet.filter(pl.col("vm_id") == "web-0000"))
    assert run(f"{bucket}/*/web-*.csv")[1]["vms"] == 2
    with pytest.raises(InvalidData, match="cannot be read: FileNotFoundError"):
        run(f"{bucket}/gone.csv")
    with pytest.raises(InvalidData, match="matches no CSV or Parquet"):
        run(f"{bucket}/*.parquet")


@pytest.fixture
def website(fleet: pl.DataFrame, tmp_path: Path) -> Iterator[str]:
    fleet.write_csv(tmp_path / "site.csv")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_http(run, fleet: pl.DataFrame, website: str):
    assert run(f"{website}/site.csv?version=3")[0].equals(fleet)
    with pytest.raises(InvalidData, match="cannot be read"):
        run(f"{website}/gone.csv")


def test_a_file_url(run, fleet: pl.DataFrame, tmp_path: Path):
    fleet.write_parquet(tmp_path / "t.parquet")
    assert run(f"file://{tmp_path}/t.parquet")[0].equals(fleet)


def test_an_unknown_protocol_is_refused(run):
    with pytest.raises(InvalidData, match="cannot be read: ValueError: Protocol not known: gopher"):
        run("gopher://example/t.csv")
