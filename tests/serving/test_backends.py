"""Every back end keeps the same contract: what it says of a graph, what it computes, what it refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fleetml.errors import ConfigurationError
from fleetml.learn.graph import InvalidGraph
from fleetml.serving import backends
from fleetml.serving.backends import Tensor

FLOAT = np.dtype(np.float32)


@pytest.fixture(params=backends.NAMES)
def backend(request: pytest.FixtureRequest) -> backends.Backend:
    try:
        return backends.choose(request.param)
    except ConfigurationError as error:
        pytest.skip(str(error))


def test_it_says_what_goes_in_and_comes_out(backend: backends.Backend, graph: Callable[..., Path]) -> None:
    session = backend.load(graph().read_bytes())
    assert list(session.inputs) == [Tensor("history", FLOAT, (None, 12)), Tensor("covariates", FLOAT, (None, 1))]
    assert list(session.outputs) == [Tensor("forecast", FLOAT, (None, 4))]
    assert session.metadata["fleetml.target"] == "bandwidth"


@pytest.mark.parametrize("rows", [1, 3])
def test_it_computes_what_the_graph_says(backend: backends.Backend, graph: Callable[..., Path], rows: int) -> None:
    session = backend.load(graph(add=2).read_bytes())
    history = np.arange(12 * rows, dtype=np.float32).reshape(rows, 12)
    made = session.run({"history": history, "covariates": np.full((rows, 1), np.nan, np.float32)})
    np.testing.assert_array_equal(made["forecast"], np.repeat(history[:, -1:] + 2, 4, axis=1))


def test_what_is_no_graph_is_refused(backend: backends.Backend) -> None:
    with pytest.raises(InvalidGraph):
        backend.load(b"no graph")


def test_arrays_that_do_not_fit_raise(backend: backends.Backend, graph: Callable[..., Path]) -> None:
    session = backend.load(graph().read_bytes())
    with pytest.raises(Exception, match=r"(?i)dimension|shape"):
        session.run({"history": np.zeros((1, 3), np.float32), "covariates": np.zeros((1, 1), np.float32)})


def test_another_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cpu, cuda, tensorrt, got 'abacus'"):
        backends.choose("abacus")
