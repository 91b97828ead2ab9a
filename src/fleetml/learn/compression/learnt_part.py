"""The learnt part of a forecasting network, as torch-pruning can follow it: without the naive forecasts, which have no weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fleetml.learn.compression.compressible import Prunable
from fleetml.learn.neural import Network
from fleetml.learn.windows import Meta

# Whose channels torch-pruning cannot tell apart
_RECURRENT = (nn.GRU, nn.LSTM, nn.RNN)


def prunable(network: Network, meta: Meta) -> Prunable:
    """Return it with its inputs: the series [2, context], and what stands beside the body's answer; horizons stay.

    A recurrent body stays as it is; what follows it is pruned.
    """
    recurrent = any(isinstance(module, _RECURRENT) for module in network.body.modules())
    known = 2 * len(meta.covariates) + 2
    part = _LearntPart(network, nn.Linear(meta.context, network.body.width) if recurrent else network.body, known)
    kept = [network.blend, network.residual, part.known, *([part.body] if recurrent else [])]
    return Prunable(part, (torch.rand(2, meta.context), torch.rand(2, known)), kept)


class _LearntPart(nn.Module):
    """`known` stands for numbers that pass unchanged: torch-pruning counts only what layers put into a concatenation."""

    def __init__(self, network: Network, body: nn.Module, known: int) -> None:
        super().__init__()
        self.body, self.known = body, nn.Linear(known, known)
        self.mix, self.blend, self.residual = network.mix, network.blend, network.residual

    def forward(self, series: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.mix(torch.cat([self.body(series), self.known(known)], dim=1))
        return self.blend(hidden), self.residual(hidden)
