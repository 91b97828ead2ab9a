from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetml.learn.compression.forecasters import ForecasterData


@pytest.fixture(scope="session")
def trained():
    """The graphs that were trained, by family, width and depth: once is enough."""
    return {}


@pytest.fixture
def forecaster(trained, meta, windows) -> Callable[..., ForecasterData]:
    """Return a function that trains a network for two epochs and returns it with the data to compress it by."""
    import torch

    from fleetml.learn import export, training
    from fleetml.learn.architectures import Architecture
    from fleetml.learn.compression.forecasters import ForecasterData
    from fleetml.learn.neural import Network

    def make(family: str = "mlp", width: int = 64, depth: int = 2, seconds: float = 60.0) -> ForecasterData:
        torch.manual_seed(0)
        torch.set_num_threads(1)
        train = windows(300)
        if (family, width, depth) not in trained:
            network, examples = Network(meta, Architecture(family, width, depth)), training.Examples.of(train)
            training.fit(network, examples, examples, training.Recipe(epochs=2), 0)
            trained[family, width, depth] = export.from_torch(network, meta, {"width": width})
        return ForecasterData(trained[family, width, depth], train, windows(80, seed=1), seconds, 0)

    return make
