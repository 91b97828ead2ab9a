"""A canary over the real server, its own prediction log, truth that arrives, and the controller."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from fleetml.serving import audit, deployment, truth
from fleetml.serving.client import Client
from fleetml.serving.rollout import actions, controller
from fleetml.serving.rollout.actions import Place
from fleetml.serving.rollout.decision import Policy
from fleetml.stack.processes import wait_until

START, STEP = datetime(2026, 3, 1, 12, tzinfo=UTC), timedelta(minutes=5)
VMS = [f"vm-{number}" for number in range(40)]
POLICY = Policy(least_rows=2, least_minutes=15.0, least_answers=10, latency_floor_ms=10_000.0)


def live(root: Path, client: Client, hour: int, value: float) -> None:
    """Ask every VM at four origins of that hour, and let the truth arrive; every version answers around 100."""
    origins = [START + timedelta(hours=hour) + number * STEP for number in range(4)]
    before = truth.logged(root, "bandwidth", START).height
    shadows = 0
    for origin in origins:
        for vm in VMS:
            answer = client.predict_bandwidth(vm, [100.0] * 12, 10, as_of=origin)
            shadows += answer.model_version == "3"
    asked = before + len(origins) * len(VMS) + shadows
    assert wait_until(lambda: truth.logged(root, "bandwidth", START).height >= asked, 60, 0.05)
    rows = [(vm, origin + k * STEP, value) for vm in VMS for origin in origins for k in (1, 2)]
    truth.write(root, "bandwidth", pl.DataFrame(rows, schema=truth.SCHEMA, orient="row"))


def await_share(root: Path, share: float) -> None:
    """Wait until the server has seen it."""

    def seen() -> bool:
        told = deployment.status(root)["models"]["bandwidth"].get("rollout", {})
        return bool(told.get("share") == share)

    assert wait_until(seen, 60, 0.02)


def test_what_is_better_in_traffic_ends_as_the_champion(root: Path, serve: Callable[..., str]) -> None:
    place = Place(root, "", "rollout")
    actions.begin(place, "bandwidth", "3", "canary", 0.05, "retrained")  # 3 says 103, 2 says 102
    with Client(serve(root), timeout=60) as client:
        for hour in range(8):
            now = deployment.read(root)["bandwidth"].rollout
            if now is None:
                break
            await_share(root, now.share)
            live(root, client, hour, value=104.0)
            controller.look(place, POLICY)
    assert [line["action"] for line in audit.read(root)] == ["begin", "advance", "advance", "promote"]
    assert deployment.read(root)["bandwidth"].version == "3"
    evidence = audit.read(root)[-1]["evidence"]
    assert round(evidence["error"]["change"], 3) == -0.5
    assert evidence["failures"] == {"served": 0, "second": 0}
