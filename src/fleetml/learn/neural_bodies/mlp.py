"""Dense layers over the whole history."""

from torch import Tensor, nn

from fleetml.learn.architectures import Architecture
from fleetml.learn.neural_bodies.body import Body


class MLP(Body):
    """Dense layers over the whole history."""

    def __init__(self, context: int, architecture: Architecture) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        wide = context
        for _ in range(architecture.depth):
            layers += [nn.Linear(wide, architecture.width), nn.ReLU(), nn.Dropout(architecture.dropout)]
            wide = architecture.width
        self.layers = nn.Sequential(*layers)
        self.width = wide

    def forward(self, series: Tensor) -> Tensor:
        return self.layers(series)
