import pytest
import torch

from fleetml.learn.architectures import Architecture
from fleetml.learn.inheritance import inherit
from fleetml.learn.neural import Network


def made(meta, seed, *architecture, **more):
    torch.manual_seed(seed)
    return Network(meta, Architecture(*architecture, **more))


@pytest.mark.parametrize("family", ["mlp", "gru", "tcn", "nbeats", "patch_transformer"])
def test_a_network_of_the_same_shape_takes_all_over(meta, family):
    child, parent = made(meta, 0, family, 8, 2), made(meta, 1, family, 8, 2)
    assert inherit(child, parent) == 1.0
    for name, value in parent.named_parameters():
        assert torch.equal(child.get_parameter(name), value)


def test_a_wider_and_deeper_one_keeps_its_own_beginning_elsewhere(meta):
    child, parent, same = made(meta, 0, "mlp", 16, 3), made(meta, 1, "mlp", 8, 2), made(meta, 0, "mlp", 16, 3)
    share = inherit(child, parent)
    assert 0.2 < share < 0.9
    first, old, new = (net.get_parameter("body.layers.0.weight") for net in (child, parent, same))
    assert torch.equal(first[:8], old)
    assert torch.equal(first[8:], new[8:])
    last, untouched = (net.get_parameter("body.layers.6.weight") for net in (child, same))
    assert torch.equal(last, untouched), "the parent has no third layer"


def test_a_narrower_one_takes_the_first_channels(meta):
    child, parent = made(meta, 0, "tcn", 8, 1, kernel=2), made(meta, 1, "tcn", 16, 1, kernel=3)
    assert inherit(child, parent) == 1.0
    assert torch.equal(
        child.get_parameter("body.convolutions.0.weight"),
        parent.get_parameter("body.convolutions.0.weight")[:8, :8, :2],
    )
