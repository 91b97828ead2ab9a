"""What the registry says it has, for who asked for something else: the same from SQLite and over HTTP."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fleetml.errors import ConfigurationError
from fleetml.serving import provenance, release
from fleetml.serving.catalogue import Catalogue, no_model, no_version
from fleetml.serving.registry_http import call

UNKNOWN = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"}
VERSIONS = [{"name": "bandwidth", "version": each} for each in ("10", "2", "1")]


class _Mlflow(BaseHTTPRequestHandler):
    """What MLflow's server answers of one model with three versions, by its REST API."""

    def do_GET(self) -> None:
        found: dict[str, Any] | None = {
            "/api/2.0/mlflow/registered-models/search": {"registered_models": [{"name": "bandwidth"}]},
            "/api/2.0/mlflow/model-versions/search": {"model_versions": VERSIONS},
        }.get(urlsplit(self.path).path)
        body = json.dumps(found or UNKNOWN).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def over_http() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Mlflow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_unknown_version_over_http_is_told_without_the_registry_s_json(over_http: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        provenance.tags_of(over_http, "bandwidth", "99")
    assert str(refused.value).endswith("bandwidth has no version 99; there are 1, 2, 10; name another")
    assert "error_code" not in str(refused.value)


def test_an_unknown_model_is_told_with_the_one_that_is_meant(over_http: str) -> None:
    with pytest.raises(ConfigurationError, match="no model 'bandwith', it has bandwidth; did you mean 'bandwidth'"):
        provenance.tags_of(over_http, "bandwith", "1")
    assert no_model(over_http, "bandwidth") == ""


def test_what_the_registry_refuses_is_told_in_its_words(over_http: str) -> None:
    with pytest.raises(ConfigurationError, match="it says not found; register it"):
        call(over_http, "GET", "/registered-models/get", {"name": "x"})


def test_the_same_from_sqlite(graph: Callable[..., Path], tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/registry/mlflow.db"
    assert no_model(uri, "bandwidth").endswith("no model 'bandwidth', it has none; train the model first")
    assert Catalogue(uri).versions("bandwidth") == []
    assert not (tmp_path / "registry").exists()
    for _ in range(2):
        release.register(uri, "bandwidth", graph(), {}, {}, {"run_id": "r"})
    with pytest.raises(ConfigurationError, match="bandwidth has no version 99; there are 1, 2; name another"):
        provenance.tags_of(uri, "bandwidth", "99")
    assert "did you mean 'bandwidth'" in no_version(uri, "bandwith", "1")
    assert no_model(uri, "other").endswith("it has bandwidth; name one of them")
