"""Attention between patches of the history, after PatchTST (Nie et al., 2023)."""

import torch
from torch import Tensor, nn

from fleetml.learn.architectures import Architecture
from fleetml.learn.neural_bodies.body import Body

# Of the width: how wide the layer between two of attention is.
_EXPANSION = 2


class _Attention(nn.Module):
    """Every patch reads every other: softmax(Q K^T / sqrt(d)) V for each head, written out as quantisers and TensorRT want it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, tokens: Tensor) -> Tensor:
        count, width = tokens.shape[1], self.heads * self.size
        query, key, value = (
            part(tokens).reshape(-1, count, self.heads, self.size).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        weights = torch.softmax(query @ key.transpose(2, 3) * self.size**-0.5, dim=3)
        return self.out((weights @ value).transpose(1, 2).reshape(-1, count, width))


class _Layer(nn.Module):
    """Attention and a dense layer, each on normalised tokens and added to them."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width = architecture.width
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _Attention(width, architecture.heads)
        self.dense = nn.Sequential(
            nn.Linear(width, _EXPANSION * width), nn.ReLU(), nn.Linear(_EXPANSION * width, width)
        )
        self.dropout = nn.Dropout(architecture.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.dropout(self.attention(self.before(tokens)))
        return tokens + self.dropout(self.dense(self.between(tokens)))


class PatchTransformer(Body):
    """Patches with a learnt place, layers of attention; the last patch and the mean of all are what is said."""

    def __init__(self, context: int, architecture: Architecture) -> None:
        super().__init__()
        self.patch = min(architecture.patch, context)
        self.trim = context % self.patch
        self.patches = context // self.patch
        self.embedding = nn.Linear(self.patch, architecture.width)
        self.places = nn.Parameter(torch.randn(self.patches, architecture.width) * 0.02)
        self.layers = nn.ModuleList(_Layer(architecture) for _ in range(architecture.depth))
        self.width = 2 * architecture.width

    def forward(self, series: Tensor) -> Tensor:
        patches = series[:, self.trim :].reshape(-1, self.patches, self.patch)
        tokens = self.embedding(patches) + self.places
        for layer in self.layers:
            tokens = layer(tokens)
        return torch.cat([tokens[:, -1], tokens.mean(dim=1)], dim=1)
