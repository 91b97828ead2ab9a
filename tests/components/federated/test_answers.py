"""Which answers of a round may be averaged."""

from __future__ import annotations

import io

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from components.federated.answers import checked
from components.federated.channel import Channel
from components.federated.records import ARRAYS, METRICS, WEIGHT

SENT = {"w": np.zeros(2, np.float32)}


def test_an_array_that_says_to_be_larger_than_memory_is_left_out() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 0
    header, shape = io.BytesIO(), (10**13,)
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    liar = ArrayRecord({"w": Array("float32", shape, "numpy.ndarray", header.getvalue() + bytes(16))})
    content = RecordDict({ARRAYS: liar, METRICS: MetricRecord({WEIGHT: 1.0})})
    message = Message(RecordDict(), 7, MessageType.TRAIN)
    found = checked([Message(content, reply_to=message)], {7: "east"}, SENT, Channel())
    assert not found.kept
    assert found.left_out["east"].startswith("sent what is no model")
