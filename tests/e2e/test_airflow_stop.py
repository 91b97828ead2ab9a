"""The end of a real Airflow. It stays stopped: whoever wants it afterwards starts it anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetml.stack import airflow, processes
from tests.e2e.airflow_stack import Stack, gone, lingering, needs_airflow, started

pytestmark = [pytest.mark.e2e, needs_airflow]


def test_stopping_leaves_no_process_and_the_next_start_is_clean(stack: Stack, tmp_path: Path) -> None:
    run_id, step = lingering(stack, tmp_path)
    airflow.stop(stack.service)
    assert gone(step)
    assert processes.marked(stack.settings.home) == []
    again = started(stack.settings)
    stack.service, stack.client = again.service, again.client
    assert stack.client.state("lingering", run_id) == "failed"
    assert stack.records(run_id).read()["state"] == "cancelled"
    _, steps = stack.run("double", needed=9)
    assert steps["twice"].state == "succeeded"
    airflow.stop(stack.service)
