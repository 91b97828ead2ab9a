"""An S3 server of its own (moto), and a store in a bucket of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetml import artifact_store
from fleetml.settings import Settings
from tests.artifact_store.pipelines import importing, two_steps

__all__ = ["importing", "two_steps"]


@pytest.fixture
def s3_variables(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that sets the variables which a person would set for the S3 server at an address."""

    def point(address: str) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # the client tries again all the same, only not as long
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        forget()

    return point


def forget() -> None:
    """Let the next store be opened anew, as another process would."""
    import s3fs

    artifact_store._made.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def s3(s3_variables: Callable[[str], None]) -> Iterator[Any]:
    """Return a boto3 client of an S3 server with the bucket "lake"."""
    server = pytest.importorskip("moto.server", reason="moto is one of the ml environment's tools")
    boto3 = pytest.importorskip("boto3")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        s3_variables("http://{}:{}".format(*running.get_host_and_port()))
        client = boto3.client("s3")
        client.create_bucket(Bucket="lake")
        yield client
        client.close()
    finally:
        running.stop()
        forget()


@pytest.fixture
def machines(project: Settings, tmp_path: Path) -> tuple[Settings, Settings]:
    """Return two installations of one project, with a FLEETML_HOME each, that share a store."""
    first, second = (
        replace(project, home=tmp_path / name, store="s3://lake/some where/models") for name in ("one", "two")
    )
    return first, second
