"""What a forecaster depends on, block by block."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import onnx

from components.automl import forecast_importance
from fleetml.learn.windows import Meta
from tests.small_graphs import META, forecaster

HOURLY = dataclasses.replace(META, step_seconds=3600)


def test_blocks_cover_the_history_once_the_latest_first():
    for meta in (HOURLY, Meta(), Meta(context=2304, season=288)):
        steps = [
            place for columns in forecast_importance.blocks(meta).values() for place in range(meta.context)[columns]
        ]
        assert sorted(steps) == list(range(meta.context))
    assert list(forecast_importance.blocks(HOURLY)) == [
        "0 to 1 hours before",
        "1 to 6 hours before",
        "6 to 12 hours before",
    ]


def test_what_a_graph_reads_matters_and_what_it_does_not_read_does_not(windows):
    some = windows(60, HOURLY)
    some.target[:] = some.history[:, -1:]
    graph = onnx.load_from_string(forecaster(HOURLY))
    found = forecast_importance.permutation(graph, some, 0, math.inf)
    assert next(iter(found)) == "0 to 1 hours before"
    assert found["0 to 1 hours before"] > 0.5
    assert found["1 to 6 hours before"] == found["6 to 12 hours before"] == 0
    assert "vm_metrics:cpu_usage" in found
    assert forecast_importance.permutation(graph, some, 0, math.inf) == found


def test_without_time_nothing_is_asked(windows):
    graph = onnx.load_from_string(forecaster(HOURLY))
    assert forecast_importance.permutation(graph, windows(20, HOURLY), 0, time.monotonic() - 1) == {}


def test_each_window_is_given_another_one_of_its_vm(windows):
    random = np.random.default_rng(0)
    some = windows(43)
    other = forecast_importance.elsewhere(some, random)
    assert (some.vm_id[other] == some.vm_id).all()
    assert (other != np.arange(43)).all()
    alone = forecast_importance.elsewhere(windows(9), random)  # nine VMs with one window each
    assert sorted(alone) == list(range(9))
    assert (alone != np.arange(9)).all()
