"""Dilated causal convolutions over patches of the history."""

import torch
from torch import Tensor, nn

from fleetml.learn.architectures import Architecture
from fleetml.learn.neural_bodies.body import Body


class TCN(Body):
    """Residual causal convolutions, dilated by powers of two, over patches of half an hour."""

    STRIDE = 6

    def __init__(self, context: int, architecture: Architecture) -> None:
        super().__init__()
        width = architecture.width
        stride = min(self.STRIDE, context)
        self.stem = nn.Conv1d(1, width, stride, stride=stride)
        self.trim = context % stride
        self.dilations = [2**i for i in range(architecture.depth)]
        self.kernel = architecture.kernel
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, self.kernel, dilation=d) for d in self.dilations)
        self.dropout = nn.Dropout(architecture.dropout)
        self.width = 2 * width

    def forward(self, series: Tensor) -> Tensor:
        hidden = self.stem(series[:, self.trim :].unsqueeze(1))
        for dilation, convolution in zip(self.dilations, self.convolutions, strict=True):
            past = nn.functional.pad(hidden, (dilation * (self.kernel - 1), 0))
            hidden = hidden + self.dropout(torch.relu(convolution(past)))
        return torch.cat([hidden[:, :, -1], hidden.mean(dim=2)], dim=1)
