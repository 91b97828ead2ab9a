"""What a lying region sends."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.federated_liars import Liar
from components.federated.learner import Task
from tests.components.federated.learners import Pull


@pytest.mark.parametrize(("factor", "sent"), [(1.0, 3.0), (-1.0, 1.0), (-10.0, -8.0)])
def test_a_liar_sends_a_multiple_of_what_it_learnt_and_judges_honestly(factor: float, sent: float) -> None:
    arrays = {"w": np.full(2, 2.0, np.float32)}
    liar = Liar(Pull(4.0), factor)  # which goes half of the way, from 2 to 3
    fitted, _ = liar.fit(arrays, Task(epochs=1))
    assert fitted["w"].tolist() == [sent, sent]
    assert liar.judge(arrays) == 2.0
