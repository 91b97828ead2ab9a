"""A second version beside the served one: who is asked, what is logged, and that it never hurts a caller."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from fleetml.errors import InvalidParameter
from fleetml.learn.windows import Meta
from fleetml.serving import deployment
from fleetml.serving.backends import Arrays
from fleetml.serving.batching import Batcher
from fleetml.serving.client import Client
from fleetml.serving.deployment import Card
from fleetml.serving.errors import Overloaded
from fleetml.serving.model import Model
from fleetml.serving.routing import place
from fleetml.stack.processes import wait_until

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
HISTORY = [float(value) for value in range(12)]
VMS = [f"vm-{number}" for number in range(40)]


def install(root: Path, graph: Path, version: str) -> None:
    card = Card("bandwidth", version, deployment.digest(graph))
    deployment.install(root, card, {deployment.GRAPH: graph})


@pytest.fixture
def root(tmp_path: Path, graph: Callable[..., Path]) -> Path:
    """A serving folder that serves version 1 (the last value); version 2 (plus 1) is installed beside it."""
    folder = tmp_path / "serving"
    install(folder, graph(), "1")
    install(folder, graph(add=1, name="second.onnx"), "2")
    deployment.point(folder, "bandwidth", "1")
    return folder


def ask(client: Client) -> dict[str, str]:
    """Return which version answered each VM."""
    found = {}
    for vm in VMS:
        answer = client.predict_bandwidth(vm, HISTORY, 5)
        assert answer.values == (11.0 if answer.model_version == "1" else 12.0,)
        found[vm] = answer.model_version
    return found


def rollout(root: Path) -> dict[str, Any]:
    told = deployment.status(root).get("models", {}).get("bandwidth", {}).get("rollout", {})
    return dict(told)


def rows(root: Path, count: int) -> list[dict[str, Any]]:
    """Wait until so many rows are logged; return them."""
    log, found = root / "predictions", []

    def there() -> bool:
        found[:] = []
        if any(log.rglob("*.parquet")):
            found[:] = ds.dataset(log, exclude_invalid_files=True).to_table().to_pylist()
        return len(found) >= count

    assert wait_until(there, 60, 0.05), f"{len(found)} rows"
    return found


def test_a_share_of_the_vms_is_answered_by_the_challenger_and_keeps_to_it(
    root: Path, serve: Callable[..., str]
) -> None:
    made = deployment.begin(root, "bandwidth", "2", "canary", 0.25, NOW)
    with Client(serve(root)) as client:
        first = ask(client)
        assert first == {vm: "2" if place(made.id, vm) < 0.25 else "1" for vm in VMS}
        assert 0 < list(first.values()).count("2") < len(VMS)
        assert ask(client) == first
        deployment.advance(root, "bandwidth", made.id, 0.5)
        assert wait_until(lambda: rollout(root).get("share") == 0.5, 60, 0.02)
        second = ask(client)
        assert all(second[vm] == "2" for vm in VMS if first[vm] == "2")
        assert list(second.values()).count("2") > list(first.values()).count("2")
    asked = Counter(2 * list(first.values()) + list(second.values()))
    logged = rows(root, 3 * len(VMS) + asked["2"])
    assert Counter((row["model_version"], row["role"], row["rollout"]) for row in logged) == {
        ("1", "champion", made.id): asked["1"],
        ("2", "challenger", made.id): asked["2"],
        ("1", "shadow", made.id): asked["2"],  # asked the same, off the path, to be compared
    }
    questions = Counter((row["vm_id"], row["origin"]) for row in logged if row["role"] != "champion")
    assert set(questions.values()) == {2}


def test_a_probe_is_for_the_served_version(root: Path, serve: Callable[..., str]) -> None:
    deployment.begin(root, "bandwidth", "2", "ab", 1.0, NOW)
    address = serve(root)
    with Client(address, probe=True) as probe, Client(address) as client:
        assert probe.predict_bandwidth("vm-1", HISTORY, 5).model_version == "1"
        assert client.predict_bandwidth("vm-1", HISTORY, 5).model_version == "2"


def test_a_shadow_is_asked_and_logged_but_does_not_answer(root: Path, serve: Callable[..., str]) -> None:
    deployment.begin(root, "bandwidth", "2", "shadow", 1.0, NOW)
    with Client(serve(root)) as client:
        assert set(ask(client).values()) == {"1"}
    logged = rows(root, 2 * len(VMS))
    assert {(row["role"], tuple(row["predictions"])) for row in logged} == {("champion", (11.0,)), ("shadow", (12.0,))}
    assert {row["vm_id"] for row in logged if row["role"] == "shadow"} == set(VMS)


@pytest.mark.parametrize("mode", ["canary", "shadow"])
def test_a_challenger_that_does_not_load_is_logged_and_the_champion_answers(
    root: Path, serve: Callable[..., str], tmp_path: Path, mode: str
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    install(root, broken, "3")
    deployment.begin(root, "bandwidth", "3", mode, 1.0, NOW)
    with Client(serve(root)) as client:
        assert set(ask(client).values()) == {"1"}
    assert "ONNX Runtime must load" in rollout(root)["error"]
    failed = [row for row in rows(root, 2 * len(VMS)) if row["failure"]]
    assert len(failed) == len(VMS)
    assert {(row["model_version"], row["role"], tuple(row["predictions"])) for row in failed} == {
        ("3", "challenger" if mode == "canary" else "shadow", ())
    }


def test_failures_are_logged_as_often_as_answers(
    root: Path, serve: Callable[..., str], graph: Callable[..., Path]
) -> None:
    install(root, graph(meta=Meta(context=13, horizon=4, season=6), name="longer.onnx"), "3")
    deployment.begin(root, "bandwidth", "3", "canary", 1.0, NOW)
    with Client(serve(root, log_share=0.25)) as client:
        for _ in range(4):
            ask(client)

    def as_often() -> bool:  # a flush may fall between a failure and its answer
        logged = rows(root, 2)
        return 0 < sum(bool(row["failure"]) for row in logged) == len(logged) / 2 < 4 * len(VMS)

    assert wait_until(as_often, 60, 0.05)


def test_a_challenger_that_is_overloaded_is_not_the_callers_error(
    root: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Batcher.run

    async def busy(batcher: Batcher, model: Model, inputs: Arrays, expires: float = float("inf")) -> Arrays:
        if model.version == "2":
            raise Overloaded("at most 3 rows wait")
        return await run(batcher, model, inputs, expires)

    monkeypatch.setattr(Batcher, "run", busy)
    deployment.begin(root, "bandwidth", "2", "canary", 1.0, NOW)
    with Client(serve(root)) as client:
        assert client.predict_bandwidth("vm-1", HISTORY, 5).model_version == "1"
    assert {row["failure"] for row in rows(root, 2)} == {"", "at most 3 rows wait"}


def test_a_challenger_that_cannot_answer_is_logged_and_the_champion_answers(
    root: Path, serve: Callable[..., str], graph: Callable[..., Path]
) -> None:
    install(root, graph(meta=Meta(context=13, horizon=4, season=6), name="longer.onnx"), "3")  # asks for more history
    deployment.begin(root, "bandwidth", "3", "canary", 1.0, NOW)
    with Client(serve(root)) as client:
        assert client.predict_bandwidth("vm-1", HISTORY, 5).model_version == "1"
        with pytest.raises(InvalidParameter, match="at least 12 values"):  # the champion's rule, and nobody's failure
            client.predict_bandwidth("vm-1", HISTORY[1:], 5)
    logged = rows(root, 2)
    assert [(row["role"], "at least 13" in row["failure"]) for row in logged if row["failure"]] == [
        ("challenger", True)
    ]
    assert len(logged) == 2


def test_promoted_and_rolled_back_without_loading_again(root: Path, serve: Callable[..., str]) -> None:
    with Client(serve(root)) as client:
        made = deployment.begin(root, "bandwidth", "2", "canary", 0.0, NOW)
        assert wait_until(lambda: rollout(root).get("id") == made.id, 60, 0.02)
        assert deployment.end(root, "bandwidth", made.id, promote=True).previous == "1"
        assert wait_until(lambda: set(ask(client).values()) == {"2"}, 60, 0.02)
        assert rollout(root) == {}


def test_one_rollout_at_a_time_and_no_stale_hand(root: Path) -> None:
    with pytest.raises(InvalidParameter, match="must be one of canary, ab, shadow"):
        deployment.begin(root, "bandwidth", "2", "maybe", 0.5, NOW)
    with pytest.raises(InvalidParameter, match="from 0 to 1, got 5"):
        deployment.begin(root, "bandwidth", "2", "canary", 5, NOW)
    with pytest.raises(InvalidParameter, match="version 1 of bandwidth is served already"):
        deployment.begin(root, "bandwidth", "1", "canary", 0.5, NOW)
    made = deployment.begin(root, "bandwidth", "2", "canary", 0.5, NOW)
    with pytest.raises(InvalidParameter, match=r"2-20261121T123000Z is under way"):
        deployment.begin(root, "bandwidth", "2", "canary", 0.5, NOW)
    with pytest.raises(InvalidParameter, match="rollout 9-x of model bandwidth must be under way"):
        deployment.advance(root, "bandwidth", "9-x", 0.5)
    assert deployment.read(root)["bandwidth"].rollout == made
    assert deployment.end(root, "bandwidth", made.id, promote=False).version == "1"
    with pytest.raises(InvalidParameter, match="none is"):
        deployment.end(root, "bandwidth", made.id, promote=True)


def test_a_version_deployed_at_once_ends_a_rollout(root: Path) -> None:
    made = deployment.begin(root, "bandwidth", "2", "canary", 0.5, NOW)
    before = deployment.point(root, "bandwidth", "2")
    assert deployment.read(root)["bandwidth"].rollout is None
    deployment.restore(root, "bandwidth", "2", before)
    assert deployment.read(root)["bandwidth"].rollout == made


def test_places_are_spread_evenly_and_do_not_follow_from_another_rollout() -> None:
    found = [place("8-now", f"vm-{number}") for number in range(2000)]
    assert abs(sum(value < 0.25 for value in found) / 2000 - 0.25) < 0.04
    other = [place("9-now", f"vm-{number}") for number in range(2000)]
    both = sum(a < 0.5 and b < 0.5 for a, b in zip(found, other, strict=True)) / 2000
    assert abs(both - 0.25) < 0.04
