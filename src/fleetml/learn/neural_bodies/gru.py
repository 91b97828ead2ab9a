"""A gated recurrent network over patches of the history."""

from torch import Tensor, nn

from fleetml.learn.architectures import Architecture
from fleetml.learn.neural_bodies.body import Body


class GRU(Body):
    """A gated recurrent network that reads the history a patch at a time."""

    def __init__(self, context: int, architecture: Architecture) -> None:
        super().__init__()
        self.patch = min(architecture.patch, context)
        self.trim = context % self.patch
        self.patches = context // self.patch
        self.gru = nn.GRU(self.patch, architecture.width, batch_first=True)
        self.dropout = nn.Dropout(architecture.dropout)
        self.width = architecture.width

    def forward(self, series: Tensor) -> Tensor:
        patches = series[:, self.trim :].reshape(-1, self.patches, self.patch)
        hidden, _ = self.gru(patches)
        return self.dropout(hidden[:, -1])
