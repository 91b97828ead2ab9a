"""What a submission refuses before anything is sent, and what it says of a server that refuses."""

import socket
import sys

import pytest

pytest.importorskip("kfp")

from fleetml.engines.kfp import Schedule, submit
from fleetml.errors import (
    ConfigurationError,
    FleetMLError,
    InvalidParameter,
    InvalidPipeline,
    Unavailable,
    UnsupportedConstruct,
)
from tests.engines.kfp.conftest import DIGEST, PIPELINES, project
from tests.engines.kfp.contract import Refused


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Schedule("0 0 3 * * 1"), "cron of five fields"),
        (Schedule("0 3 * * 1", "txt"), "must name a text parameter of 'types', got 'txt'"),
        (Schedule("0 3 * * 1", "count"), "must name a text parameter"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused(server, tmp_path, schedule, message):
    with pytest.raises(ConfigurationError, match=message):
        submit(PIPELINES / "types.yaml", {}, server.host, project=project(tmp_path), schedule=schedule)
    assert server.requests == []


@pytest.mark.parametrize(
    ("registry", "digest", "overrides", "message"),
    [
        ("", "", {}, "'fleetml/ml' has no registry and digest"),
        ("registry.example/ml", "", {}, "has no registry and digest"),
        ("registry.example/ml", "latest", {}, "must be named by its digest, not by a tag"),
        (
            "",
            "",
            {"fleetml/ml": "registry.example/ml:1.0"},
            "the override of image 'fleetml/ml' must be named by its digest",
        ),
        (
            "",
            "",
            {"fleetml/other": f"x@{DIGEST}"},
            "'fleetml/other' names no image of this pipeline; it uses fleetml/ml",
        ),
    ],
)
def test_images_known_by_a_tag_only_are_refused_before_anything_is_sent(
    server, tmp_path, registry, digest, overrides, message
):
    with pytest.raises(ConfigurationError, match=message):
        submit(
            PIPELINES / "types.yaml",
            {},
            server.host,
            project=project(tmp_path, registry, digest),
            image_overrides=overrides,
        )
    assert server.requests == []


def test_an_unknown_image_is_refused(server, tmp_path, ir_file):
    def change(document):
        document["deploymentSpec"]["executors"]["exec-save"]["container"]["image"] = "stranger/image:1"

    with pytest.raises(ConfigurationError, match="stranger/image:1"):
        submit(ir_file("strangers", change), {}, server.host, project=project(tmp_path))


def test_a_bad_parameter_or_ir_is_refused_before_anything_is_sent(server, tmp_path):
    with pytest.raises(InvalidParameter, match="did you mean 'count'"):
        submit(PIPELINES / "types.yaml", {"cuont": 1}, server.host, project=project(tmp_path))
    with pytest.raises(InvalidPipeline, match="task configuration"):
        submit(PIPELINES / "task_config.yaml", {}, server.host, project=project(tmp_path))
    with pytest.raises(UnsupportedConstruct, match="'data' of pipeline 'given' is an artifact"):
        submit(PIPELINES / "given.yaml", {"data": "s3://bucket/data"}, server.host, project=project(tmp_path))
    with pytest.raises(
        UnsupportedConstruct, match="exec-start: a step that starts another pipeline runs on this machine"
    ):
        submit(PIPELINES / "starts.yaml", {}, server.host, project=project(tmp_path))
    assert server.requests == []


def test_hosts_that_do_not_answer_or_are_something_else(tmp_path, server):
    with pytest.raises(ConfigurationError, match="must begin with http"):
        submit(PIPELINES / "cleanup.yaml", {}, "", project=project(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match="does not answer"):
            submit(PIPELINES / "cleanup.yaml", {}, host, project=project(tmp_path))
    with pytest.raises(ConfigurationError, match="is no KFP v2 API server"):
        submit(PIPELINES / "cleanup.yaml", {}, f"{server.host}/elsewhere", project=project(tmp_path))


def test_what_the_server_refuses_is_said_in_its_words(server, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "create_run", lambda *_: (_ for _ in ()).throw(Refused(400, "no room")))
    with pytest.raises(FleetMLError, match=r"refused the request \(400\): no room"):
        submit(PIPELINES / "cleanup.yaml", {}, server.host, project=project(tmp_path))
    monkeypatch.setattr(server, "create_run", lambda *_: (_ for _ in ()).throw(Refused(503, "down")))
    with pytest.raises(Unavailable, match="down"):
        submit(PIPELINES / "cleanup.yaml", {}, server.host, project=project(tmp_path))


def test_without_kfp_the_message_says_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "kfp", None)
    with pytest.raises(ConfigurationError, match=r"fleetml\[kfp\]"):
        submit(PIPELINES / "cleanup.yaml", {}, "http://127.0.0.1:1", project=project(tmp_path))
