"""Blocks that each explain what is left of the history, after N-BEATS (Oreshkin et al., 2020)."""

from torch import Tensor, nn

from fleetml.learn.architectures import Architecture
from fleetml.learn.neural_bodies.body import Body


class _Block(nn.Module):
    """Two dense layers; from them what the block explains of the history, and what it says of the future."""

    def __init__(self, context: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(context, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU()
        )
        self.backcast = nn.Linear(width, context)

    def forward(self, series: Tensor) -> tuple[Tensor, Tensor]:
        said = self.layers(series)
        return series - self.backcast(said), said


class NBeats(Body):
    """Doubly residual: a block reads what the blocks before it left unexplained; what they say is added up."""

    def __init__(self, context: int, architecture: Architecture) -> None:
        super().__init__()
        self.width = architecture.width
        # The last block explains nothing that another would read.
        self.blocks = nn.ModuleList(
            _Block(context, self.width, architecture.dropout) for _ in range(architecture.depth - 1)
        )
        self.last = nn.Sequential(
            nn.Linear(context, self.width),
            nn.ReLU(),
            nn.Dropout(architecture.dropout),
            nn.Linear(self.width, self.width),
        )

    def forward(self, series: Tensor) -> Tensor:
        total: Tensor | None = None
        for block in self.blocks:
            series, said = block(series)
            total = said if total is None else total + said
        final = self.last(series)
        return final if total is None else total + final
