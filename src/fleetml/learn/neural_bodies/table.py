"""Bodies for the rows of a table (Gorishniy et al., 2021): dense layers, residual blocks, gated blocks."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


class _Dense(nn.Module):
    """A dense layer that keeps the width."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, rows: Tensor) -> Tensor:
        return self.layers(rows)


class _Residual(nn.Module):
    """Normalised, widened, narrowed, added to what came in."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, rows: Tensor) -> Tensor:
        return rows + self.layers(rows)


class _Gated(nn.Module):
    """What is said, times how much it matters, added to what came in."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.said, self.gate = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor) -> Tensor:
        normal = self.norm(rows)
        return rows + self.dropout(self.said(normal) * torch.sigmoid(self.gate(normal)))


BLOCKS: Mapping[str, Callable[[int, float], nn.Module]] = {"mlp": _Dense, "resnet": _Residual, "gated": _Gated}


class TableBody(nn.Module):
    """rows [batch, features] → said [batch, outputs]: an embedding, `depth` blocks, a layer that says it."""

    def __init__(self, block: str, features: int, outputs: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, width),
            nn.ReLU(),
            *(BLOCKS[block](width, dropout) for _ in range(depth)),
            nn.Linear(width, outputs),
        )

    def forward(self, rows: Tensor) -> Tensor:
        return self.layers(rows)
