"""What the client refuses before it asks."""

import re

import numpy as np
import pytest

from fleetml.errors import InvalidParameter, Unavailable
from fleetml.serving.client import Client

NOWHERE = "127.0.0.1:9"


@pytest.mark.parametrize("array", [np.array(["a"]), np.zeros(1, np.complex64), np.zeros(1, "datetime64[s]")])
def test_a_type_that_the_protocol_lacks_is_refused_with_those_it_has(array):
    with (
        Client(NOWHERE) as client,
        pytest.raises(InvalidParameter, match=f"input rows .*float32.*got {re.escape(str(array.dtype))}"),
    ):
        client.infer("any", {"rows": array})


@pytest.mark.parametrize("array", [np.zeros(1, ">f4"), np.zeros(1, np.int64), np.array(["a"], object)])
def test_other_types_are_asked_in_any_order_of_bytes(array):
    with Client(NOWHERE) as client, pytest.raises(Unavailable):
        client.infer("any", {"rows": array})
