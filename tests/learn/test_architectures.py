import numpy as np
import pytest
import torch

from fleetml.learn import export, search_space, training
from fleetml.learn.architectures import FAMILIES, Architecture, architecture
from fleetml.learn.neural import Network


@pytest.mark.parametrize("family", FAMILIES)
def test_every_corner_of_a_space_is_a_network_whose_graph_forecasts_the_same(meta, windows, family):
    space = FAMILIES[family]
    corners = [
        {name: each.low for name, each in space.items()},
        {name: each.high for name, each in space.items()},
        {name: each.low if name == "heads" else each.high for name, each in space.items()},
        search_space.defaults(space),
    ]
    some = windows(5)
    for corner in corners:
        torch.manual_seed(1)
        network = Network(meta, architecture(family, corner))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        model = export.from_torch(network, meta, corner)
        assert export.check_equal(model, some, training.predict(network, some)) < 1e-4


@pytest.mark.parametrize(
    ("family", "hyperparameters", "meant"),
    [
        ("mlp", {"width": 99, "depth": 2, "dropout": 0.1}, Architecture("mlp", 96, 2, 0.1)),
        ("mlp", {"width": 1}, Architecture("mlp", 8, 1)),
        ("tcn", {"width": 32, "depth": 3, "kernel": 5}, Architecture("tcn", 32, 3, kernel=5)),
        ("gru", {"width": 64, "patch": 12}, Architecture("gru", 64, 1, patch=12)),
        ("patch_transformer", {"width": 32, "heads": 7}, Architecture("patch_transformer", 32, 1, heads=4)),
        ("patch_transformer", {"width": 32, "heads": 1}, Architecture("patch_transformer", 32, 1, heads=1)),
    ],
)
def test_what_a_point_of_the_space_means(family, hyperparameters, meant):
    assert architecture(family, hyperparameters) == meant


@pytest.mark.parametrize("family", ["nbeats", "patch_transformer"])
def test_a_new_body_learns_what_the_history_says(meta, family):
    """The target is the history's maximum in its first half: no naive forecast says that."""
    random = np.random.default_rng(0)
    history = torch.from_numpy(random.uniform(1, 2, (600, meta.context)).astype(np.float32))
    target = history[:, : meta.context // 2].max(dim=1, keepdim=True).values.expand(-1, meta.horizon).contiguous()
    ones = torch.ones_like(target)
    examples = training.Examples(history, torch.full((600, 1), float("nan")), target, ones, torch.ones(600))
    torch.manual_seed(0)
    network = Network(meta, Architecture(family, 32, 2, patch=3))
    before = training.validate(network, examples)
    after = training.fit(network, examples, examples, training.Recipe(epochs=15), 0)
    assert after < 0.5 * before
