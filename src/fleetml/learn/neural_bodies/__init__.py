"""The bodies of the neural forecasters by family: what an architecture search chooses between."""

from collections.abc import Callable, Mapping

from fleetml.learn.architectures import Architecture
from fleetml.learn.neural_bodies.body import Body
from fleetml.learn.neural_bodies.gru import GRU
from fleetml.learn.neural_bodies.mlp import MLP
from fleetml.learn.neural_bodies.nbeats import NBeats
from fleetml.learn.neural_bodies.patch_transformer import PatchTransformer
from fleetml.learn.neural_bodies.tcn import TCN

BODIES: Mapping[str, Callable[[int, Architecture], Body]] = {
    "mlp": MLP,
    "gru": GRU,
    "tcn": TCN,
    "nbeats": NBeats,
    "patch_transformer": PatchTransformer,
}
